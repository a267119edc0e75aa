// Classifies samples with a bundle, through ONNX Runtime's C API: one stage after the other until an exit is confident enough.
//
//   classify BUNDLE SAMPLES [--fused] [--calibration KEY]
//
// SAMPLES holds float32 numbers, one sample after the other. For each sample a line is printed: label, exit, score.
// What is read of the bundle is described in docs/languages.md.

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using nlohmann::json;
using Names = std::vector<std::string>;

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

const OrtApi& ort() {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == nullptr) throw std::runtime_error("the ONNX Runtime library is older than its header");
  return *api;
}

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const Owned<OrtStatus> owned(status, ort().ReleaseStatus);
  throw std::runtime_error(ort().GetErrorMessage(status));
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// ---- Tensors: one buffer for each name, which the stage that makes it and those that read it share.

struct Element {
  ONNXTensorElementDataType type;
  size_t bytes;
};

const std::map<std::string, Element> ELEMENTS = {
    {"float32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4}}, {"float16", {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2}},
    {"float64", {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, 8}}, {"uint8", {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1}},
    {"int8", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1}},     {"int32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 4}},
    {"int64", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8}},   {"bool", {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, 1}},
};

class Tensors {
 public:
  Tensors() { check(ort().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_)); }
  ~Tensors() { ort().ReleaseMemoryInfo(memory_); }
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  // A name may come twice: an exit's logits may also be what a later stage reads.
  void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
    if (tensors_.count(name)) return;
    if (!ELEMENTS.count(dtype)) throw std::runtime_error("tensor " + name + " is of " + dtype + ", which this program does not know");
    const Element element = ELEMENTS.at(dtype);
    size_t bytes = element.bytes;
    for (const int64_t n : shape) bytes *= static_cast<size_t>(n);
    std::vector<char> buffer(bytes);
    OrtValue* value = nullptr;
    check(ort().CreateTensorWithDataAsOrtValue(memory_, buffer.data(), bytes, shape.data(), shape.size(), element.type, &value));
    tensors_.emplace(name, Tensor{std::move(buffer), {value, ort().ReleaseValue}});
  }

  // A tensor as the manifest describes it; a dimension without a number, such as the batch, is 1.
  void add(const json& spec) {
    std::vector<int64_t> shape;
    for (const json& n : spec["shape"]) shape.push_back(n.is_number() ? n.get<int64_t>() : 1);
    add(spec["name"], spec["dtype"], shape);
  }

  OrtValue* value(const std::string& name) const { return tensors_.at(name).value.get(); }
  size_t bytes(const std::string& name) const { return tensors_.at(name).buffer.size(); }

  template <typename T>
  T* data(const std::string& name) {
    return reinterpret_cast<T*>(tensors_.at(name).buffer.data());
  }

 private:
  struct Tensor {
    std::vector<char> buffer;
    Owned<OrtValue> value;
  };
  OrtMemoryInfo* memory_ = nullptr;
  std::map<std::string, Tensor> tensors_;
};

// ---- One ONNX file, bound to the buffers that it reads and writes.

class Model {
 public:
  Model(const OrtEnv* env, const std::string& path, const Names& inputs, const Names& outputs, const Tensors& tensors)
      : inputs_(inputs), outputs_(outputs), session_(open(env, path)) {
    for (const auto& name : inputs_) input_names_.push_back(name.c_str()), input_values_.push_back(tensors.value(name));
    for (const auto& name : outputs_) output_names_.push_back(name.c_str()), output_values_.push_back(tensors.value(name));
  }

  void run() {
    check(ort().Run(session_.get(), nullptr, input_names_.data(), input_values_.data(), input_names_.size(),
                    output_names_.data(), output_names_.size(), output_values_.data()));
  }

 private:
  static Owned<OrtSession> open(const OrtEnv* env, const std::string& path) {
    OrtSessionOptions* options = nullptr;
    check(ort().CreateSessionOptions(&options));
    const Owned<OrtSessionOptions> owned(options, ort().ReleaseSessionOptions);
    check(ort().SetIntraOpNumThreads(options, 1));  // as calibrated by default; several sessions with threads disturb each other
    OrtSession* session = nullptr;
    check(ort().CreateSession(env, path.c_str(), options, &session));
    return {session, ort().ReleaseSession};
  }

  Names inputs_, outputs_;
  std::vector<const char*> input_names_, output_names_;
  std::vector<const OrtValue*> input_values_;
  std::vector<OrtValue*> output_values_;
  Owned<OrtSession> session_;
};

// ---- The bundle.

float parse_threshold(const json& number) {  // JSON has no infinity: "inf" never leaves, "-inf" always does
  if (number == "inf") return std::numeric_limits<float>::infinity();
  if (number == "-inf") return -std::numeric_limits<float>::infinity();
  return number.get<float>();
}

// Of the calibration that is active for `key`, or of the only one where no key is given.
std::vector<float> read_thresholds(const std::string& bundle, const json& manifest, const std::string& key) {
  const json& active = manifest["calibrations"];
  std::string keys;
  for (const auto& entry : active.items()) keys += "\n  " + entry.key();
  if (active.empty()) throw std::runtime_error(bundle + " has no active calibration: run edgeexit calibrate on this device");
  if (key.empty() && active.size() > 1) throw std::runtime_error("choose one with --calibration:" + keys);
  const auto found = key.empty() ? active.begin() : active.find(key);
  if (found == active.end()) throw std::runtime_error("no calibration is active for " + key + "; there are:" + keys);
  const json calibration = json::parse(read_file(bundle + "/" + (*found)["file"].get<std::string>()));
  std::vector<float> thresholds;
  for (const json& number : calibration["inner_thresholds"]) thresholds.push_back(parse_threshold(number));
  return thresholds;
}

struct Answer {
  int64_t label;
  int64_t exit;
  float score;
};

class Network {
 public:
  Network(const json& manifest, const std::vector<float>& thresholds) : classes_(manifest["classes"]), thresholds_(thresholds) {
    if (thresholds.size() + 1 != manifest["stages"].size())
      throw std::runtime_error("there must be one threshold for each exit but the last");
    OrtEnv* env = nullptr;
    check(ort().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "classify", &env));
    env_ = {env, ort().ReleaseEnv};
    if (manifest["inputs"].size() != 1 || manifest["inputs"][0]["dtype"] != "float32")
      throw std::runtime_error("this program feeds networks of one float32 input");
    input_ = manifest["inputs"][0]["name"];
    tensors_.add(manifest["inputs"][0]);
  }
  virtual ~Network() = default;

  size_t bytes_of_sample() const { return tensors_.bytes(input_); }

  Answer classify(const char* sample) {
    std::memcpy(tensors_.data<char>(input_), sample, bytes_of_sample());
    return decide();
  }

 protected:
  virtual Answer decide() = 0;

  Answer make_answer(const std::string& logits, int64_t exit, const std::string& score) {
    const float* z = tensors_.data<float>(logits);
    return {std::max_element(z, z + classes_) - z, exit, *tensors_.data<float>(score)};
  }

  int64_t classes_;
  std::vector<float> thresholds_;
  Owned<OrtEnv> env_{nullptr, nullptr};
  Tensors tensors_;
  std::string input_;
};

// The stages: stage k is run where no exit before it was confident enough.
class Staged : public Network {
 public:
  Staged(const std::string& bundle, const json& manifest, const std::vector<float>& thresholds) : Network(manifest, thresholds) {
    for (const json& stage : manifest["stages"]) {
      Names inputs = stage["inputs"], outputs = {stage["logits"], stage["score"]};
      for (const json& spec : stage["boundaries_in"]) inputs.push_back(spec["name"]);
      for (const json& spec : stage["boundaries_out"]) {
        tensors_.add(spec);
        if (spec["name"] != stage["logits"]) outputs.push_back(spec["name"]);
      }
      tensors_.add(stage["logits"], "float32", {1, classes_});
      tensors_.add(stage["score"], "float32", {1});
      exits_.push_back({stage["logits"], stage["score"]});
      models_.emplace_back(env_.get(), bundle + "/" + stage["file"].get<std::string>(), inputs, outputs, tensors_);
    }
  }

 protected:
  Answer decide() override {
    for (size_t k = 0;; ++k) {
      models_[k].run();
      const auto& [logits, score] = exits_[k];
      if (k == thresholds_.size() || *tensors_.data<float>(score) >= thresholds_[k])
        return make_answer(logits, static_cast<int64_t>(k) + 1, score);
    }
  }

 private:
  std::vector<Model> models_;
  std::vector<std::pair<std::string, std::string>> exits_;
};

// The fused graph: one file, in which the later stages stand inside If nodes and the thresholds are inputs.
class Fused : public Network {
 public:
  Fused(const std::string& bundle, const json& manifest, const std::vector<float>& thresholds) : Network(manifest, thresholds) {
    Names inputs = {input_};
    for (size_t k = 0; k < thresholds.size(); ++k) {
      inputs.push_back("threshold_" + std::to_string(k + 1));
      tensors_.add(inputs.back(), "float32", {});
      *tensors_.data<float>(inputs.back()) = thresholds[k];
    }
    tensors_.add("logits", "float32", {1, classes_});
    tensors_.add("exit", "int64", {});
    tensors_.add("score", "float32", {});
    const std::string file = bundle + "/" + manifest["fused"].get<std::string>();
    model_ = std::make_unique<Model>(env_.get(), file, inputs, Names{"logits", "exit", "score"}, tensors_);
  }

 protected:
  Answer decide() override {
    model_->run();
    return make_answer("logits", *tensors_.data<int64_t>("exit"), "score");
  }

 private:
  std::unique_ptr<Model> model_;
};

// ---- The program.

void classify_file(Network& network, const std::string& path) {
  const std::string samples = read_file(path);
  const size_t size = network.bytes_of_sample(), count = samples.size() / size;
  if (count == 0 || samples.size() % size != 0)
    throw std::runtime_error(path + " does not hold samples of " + std::to_string(size) + " bytes each");
  const auto start = std::chrono::steady_clock::now();
  std::vector<Answer> answers;
  for (size_t i = 0; i < count; ++i) answers.push_back(network.classify(samples.data() + i * size));
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  for (const Answer& a : answers)
    std::printf("%lld %lld %.9g\n", static_cast<long long>(a.label), static_cast<long long>(a.exit), a.score);
  std::fprintf(stderr, "%zu samples, %.1f us each\n", count, took.count() / static_cast<double>(count));
}

void run(const Names& words) {
  Names paths;
  std::string key;
  bool fused = false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--fused") fused = true;
    else if (words[i] == "--calibration" && i + 1 < words.size()) key = words[++i];
    else paths.push_back(words[i]);
  }
  if (paths.size() != 2) throw std::runtime_error("usage: classify BUNDLE SAMPLES [--fused] [--calibration KEY]");
  const std::string& bundle = paths[0];
  const json manifest = json::parse(read_file(bundle + "/manifest.json"));
  const auto thresholds = read_thresholds(bundle, manifest, key);
  std::unique_ptr<Network> network;
  if (fused) network = std::make_unique<Fused>(bundle, manifest, thresholds);
  else network = std::make_unique<Staged>(bundle, manifest, thresholds);
  classify_file(*network, paths[1]);
}

int main(int count, char** words) {
  try {
    run({words + 1, words + count});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}

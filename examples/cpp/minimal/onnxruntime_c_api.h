/* The part of ONNX Runtime's C API that classify.cpp uses, under its official names, for machines that have the library (such as the
 * one in Python's wheel) but not its header. CMake takes the official header instead where it finds it.
 *
 * The API is one table of functions whose first 102 places have been the same since version 1, and which every later release serves
 * to programs that ask for version 1. The places that are not used here are filled up by `unused_...`. */
#ifndef EDGEEXIT_MINIMAL_ONNXRUNTIME_C_API_H
#define EDGEEXIT_MINIMAL_ONNXRUNTIME_C_API_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef struct OrtEnv OrtEnv;
typedef struct OrtStatus OrtStatus; /* NULL is success */
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtSession OrtSession;
typedef struct OrtValue OrtValue;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtSessionOptions OrtSessionOptions;

typedef enum { ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum { OrtDeviceAllocator = 0 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum { /* numbered as TensorProto.DataType of ONNX */
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL = 9,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11
} ONNXTensorElementDataType;

typedef struct OrtApi {
  void* unused_0[2];
  const char* (*GetErrorMessage)(const OrtStatus*);                                                                   /* 2 */
  OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char* name, OrtEnv**);                                               /* 3 */
  void* unused_4[3];
  OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**);               /* 7 */
  void* unused_8[1];
  OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const* input_names, const OrtValue* const* inputs, /* 9 */
                    size_t input_count, const char* const* output_names, size_t output_count, OrtValue** outputs);
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**); /* 10 */
  void* unused_11[13];
  OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int); /* 24 */
  void* unused_25[24];
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, size_t bytes, const int64_t* shape, /* 49 */
                                               size_t dimensions, ONNXTensorElementDataType, OrtValue**);
  void* unused_50[19];
  OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**); /* 69 */
  void* unused_70[22];
  void (*ReleaseEnv)(OrtEnv*);               /* 92 */
  void (*ReleaseStatus)(OrtStatus*);         /* 93 */
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*); /* 94 */
  void (*ReleaseSession)(OrtSession*);       /* 95 */
  void (*ReleaseValue)(OrtValue*);           /* 96 */
  void* unused_97[3];
  void (*ReleaseSessionOptions)(OrtSessionOptions*); /* 100 */
} OrtApi;

typedef struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version); /* NULL where the library is older than the version */
  const char* (*GetVersionString)(void);
} OrtApiBase;

const OrtApiBase* OrtGetApiBase(void);

#ifdef __cplusplus
}
static_assert(offsetof(OrtApi, ReleaseSessionOptions) == 100 * sizeof(void*), "a place of the table is missing or too many");
#endif

#endif

"""Sources of the stand-ins for repositories of text classifiers: as few layers as show the interface and the names of weights."""

from __future__ import annotations

CONFIGURATION = """
class {name}:
    def __init__(self, vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
                 max_position_embeddings=512, type_vocab_size=2, **kwargs):
        assert hidden_size % num_attention_heads == 0
        vars(self).update(locals() | kwargs)
"""

BERT = """
import torch
from torch import nn


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)

    def forward(self, input_ids, token_type_ids):
        places = torch.arange(input_ids.size(1)).unsqueeze(0)
        return self.word_embeddings(input_ids) + self.position_embeddings(places) + self.token_type_embeddings(token_type_ids)


class Intermediate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.intermediate, self.output = Intermediate(config), nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x, mask):
        weights = torch.softmax((mask - 1) * 1e4, dim=1).unsqueeze(-1)
        return x + self.output(self.intermediate.dense(x + (x * weights).sum(1, keepdim=True)).relu())


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
"""

DEEBERT = """
from .modeling_bert import Embeddings, Encoder, nn, torch


class Highway(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)
        self.encoder.highway = nn.ModuleList(Highway(config) for _ in range(config.num_hidden_layers))

    def forward(self, input_ids, attention_mask, token_type_ids):
        x, exits = self.embeddings(input_ids, token_type_ids), ()
        for layer, highway in zip(self.encoder.layer, self.encoder.highway):
            x = layer(x, attention_mask)
            logits = highway.classifier(x[:, 0])
            if not self.training and logits.max() > 1e9:
                raise RuntimeError("leaves")
            exits = (*exits, (logits, x[:, 0]))
        return x[:, 0], exits


class BertForSequenceClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.bert, self.classifier = Model(config), nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None):
        pooled, exits = self.bert(input_ids, attention_mask, token_type_ids)
        return (self.classifier(pooled), exits)
"""

EXIT_PER_LAYER = """
from {package}.bert import Embeddings, Encoder, nn, torch


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)

    def forward(self, input_ids, attention_mask, token_type_ids, heads):
        x, exits = self.embeddings(input_ids, token_type_ids), []
        for i, layer in enumerate(self.encoder.layer):
            x = layer(x, attention_mask)
            exits.append(heads[i](x[:, 0]))
            if {decides}:
                break
        return exits


class {name}(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.{inner} = Model(config)
        count = {count}
        self.classifiers = nn.ModuleList(nn.Linear(config.hidden_size, config.num_labels) for _ in range(count))

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None):
        logits = self.{inner}(input_ids, attention_mask, token_type_ids, self.classifiers)
        return ({returned},)
"""

PABEE = EXIT_PER_LAYER.format(
    package="pabee",
    name="BertForSequenceClassification",
    inner="bert",
    count="config.num_hidden_layers",
    decides="not self.training and exits[-1].max() > 0",
    returned="logits[-1]",
)
ELASTICBERT = EXIT_PER_LAYER.format(
    package="models",
    name="ElasticBertForSequenceClassification",
    inner="elasticbert",
    count="config.num_output_layers",
    decides="False",
    returned="logits",
)

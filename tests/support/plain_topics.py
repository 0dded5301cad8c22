"""The population loss of one layer of attention as its definition says, id by id, in torch: the slow twin of theory/topics."""

from itertools import combinations

import torch


def plain_loss(weights, loss, n_topics, size, tau, rates, hidden_keys, n_ids):
    """Sum over sets of topics of the joint probability of shown id and word times the loss."""
    embed, query, key, value, unembed, bias = weights
    rate, keep, random = rates
    n_words = n_topics * size
    scores = (embed @ query) @ (embed @ key).T / query.shape[1] ** 0.5
    total = 0.0
    supports = list(combinations(range(n_topics), tau))
    for support in supports:
        q = torch.zeros(n_words, dtype=torch.float64)
        for topic in support:
            q[topic * size : (topic + 1) * size] = 1 / (tau * size)
        if hidden_keys:
            p = torch.cat([q, torch.zeros(1, dtype=torch.float64)])
        else:
            genuine = 1 - rate + rate * keep
            p = torch.cat(
                [genuine * q + rate * random / n_words, torch.tensor([rate * (1 - keep - random)], dtype=torch.float64)]
            )
        pattern = torch.softmax(scores + torch.log(p), dim=1)
        out = pattern @ (embed @ value) @ unembed + bias
        joint = torch.zeros(n_words + 1, n_words, dtype=torch.float64)
        joint[:-1] += random * q / n_ids
        joint[:-1] += keep * torch.diag(q)
        joint[-1] = (1 - keep - random) * q
        if loss == "squared":
            each = ((out[:, None] - torch.eye(n_words, dtype=torch.float64)) ** 2).sum(dim=2)
        else:
            each = -torch.log_softmax(out, dim=1)
        total = total + (joint * each).sum()
    return total / len(supports)


def plain(weights, setting, loss):
    """The same, by setting; weights in the order of TopicParameters."""
    rates = (setting.mask_rate, setting.keep, setting.random)
    sizes = (setting.n_topics, setting.words_per_topic, setting.topics_per_document)
    return plain_loss(weights, loss, *sizes, rates, setting.keys == "unselected", setting.n_ids or setting.n_words)

"""Algorithm 1 of Never Give Up (arXiv 2002.06038) as slow loops, without the library."""

import math


def squared_distance(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def nearest(memory, query, k):
    return sorted(squared_distance(entry, query) for entry in memory)[:k]


def similarity(distances, mean, epsilon, cluster_distance, pseudo_count):
    total = 0.0
    for distance in distances:
        normalised = 0.0 if distance == 0 else (distance / mean if mean > 0 else math.inf)
        normalised = max(normalised - cluster_distance, 0.0)
        total += epsilon / (normalised + epsilon)
    return math.sqrt(total) + pseudo_count


def novelty(distances, mean, *, epsilon, cluster_distance, pseudo_count, max_similarity):
    s = similarity(distances, mean, epsilon, cluster_distance, pseudo_count)
    return 0.0 if s > max_similarity else 1.0 / s


class Episodic:
    """All environments of one bonus: lists as memories, one running mean for all."""

    def __init__(self, num_envs, k, capacity, **kernel):
        self.memories = [[] for _ in range(num_envs)]
        self.k, self.capacity, self.kernel = k, capacity, kernel
        self.total, self.count = 0.0, 0

    def begin(self, env, embedding):
        self.memories[env] = [embedding]

    def remember(self, env, embedding):
        self.memories[env] = [*self.memories[env], embedding][-self.capacity :]

    def score(self, embeddings, where):
        found = {
            env: nearest(self.memories[env], embeddings[env], self.k)
            for env in range(len(embeddings))
            if where[env]
        }
        for distances in found.values():
            self.total += sum(distances)
            self.count += len(distances)
        mean = self.total / self.count if self.count else 0.0
        rewards = [0.0] * len(embeddings)
        for env, distances in found.items():
            rewards[env] = novelty(distances, mean, **self.kernel)
            self.remember(env, embeddings[env])
        return rewards


class Lifelong:
    """The modulator, from all errors so far; mean and deviation computed anew each time."""

    def __init__(self, maximum):
        self.errors, self.maximum = [], maximum

    def score(self, errors):
        self.errors += [float(error) for error in errors]
        mean = sum(self.errors) / len(self.errors)
        std = math.sqrt(sum((error - mean) ** 2 for error in self.errors) / len(self.errors))
        alphas = [1 + (float(e) - mean) / std if std > 0 else 1.0 for e in errors]
        return [min(max(alpha, 1.0), self.maximum) for alpha in alphas]

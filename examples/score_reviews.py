"""Scores 1,000 reviews by what they resemble; stopped anywhere, it goes on where it was.

    python score_reviews.py

Each review is compared with labelled ones by how well they compress together: the normalised
compression distance of Cilibrasi and Vitányi, "Clustering by Compression" (2005). Slow, and without
any library; what counts here is that no score is computed twice.
"""

import lzma
import random

import memoflow
from memoflow import memoize

GOOD = ["great", "lovely", "works", "fast", "recommend", "excellent", "happy", "perfect"]
BAD = ["broken", "slow", "returned", "awful", "noisy", "disappointed", "cheap", "late"]
COMMON = ["the", "a", "it", "was", "this", "and", "my", "for", "with", "after", "two", "weeks"]


def reviews(count, seed):
    """Return (text, is_good) pairs, made of words."""
    chance = random.Random(seed)
    made = []
    for i in range(count):
        words = chance.choices(COMMON, k=40) + chance.choices(GOOD if i % 2 else BAD, k=12)
        chance.shuffle(words)
        made.append((" ".join(words), bool(i % 2)))
    return made


LABELLED = reviews(40, seed=1)


def size(text):
    return len(lzma.compress(text.encode()))


def distance(one, other):
    alone, beside = size(one), size(other)
    return (size(f"{one} {other}") - min(alone, beside)) / max(alone, beside)


@memoize
def score(text, neighbours=9):
    """Return the share of good ones among the labelled reviews that are nearest."""
    nearest = sorted(LABELLED, key=lambda pair: distance(text, pair[0]))[:neighbours]
    return sum(is_good for _, is_good in nearest) / neighbours


if __name__ == "__main__":
    asked = reviews(1000, seed=2)
    scores = memoflow.map(score, [text for text, _ in asked])
    right = sum((one > 0.5) == is_good for one, (_, is_good) in zip(scores, asked, strict=True))
    print(f"{right} of {len(asked)} right; {score}")

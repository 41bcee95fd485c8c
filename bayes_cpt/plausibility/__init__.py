"""Whether curves are plausible: findings of mistakes that are well-formed, and points that stand out."""

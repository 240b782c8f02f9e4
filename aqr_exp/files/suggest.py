"""Suggestions: the existing name closest to a misspelt one."""

from collections.abc import Collection

_SYNONYMS = {"gpu": "cuda", "lr": "schedule.learning_rate"}


def nearest(word: str, choices: Collection[str]) -> str | None:
    """The choice closest to a misspelt word, None when nothing is close.

    Args:
        word: What was typed; may be a dotted key or only its last part.
    """
    import difflib

    if _SYNONYMS.get(word.lower()) in choices:
        return _SYNONYMS[word.lower()]
    lowered = {choice.lower(): choice for choice in choices}
    if word.lower() in lowered:
        return lowered[word.lower()]
    # A key typed without its group is meant as the one key that ends so.
    ending = [choice for choice in choices if choice.endswith(f".{word}")]
    if len(ending) == 1:
        return ending[0]
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return lowered[close[0]]
    # Of keys that end alike the first is meant.
    leaves = {choice.rpartition(".")[2]: choice for choice in reversed([*choices])}
    close = difflib.get_close_matches(word.rpartition(".")[2], list(leaves), n=1, cutoff=0.7)
    return leaves[close[0]] if close else None


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """`: did you mean 'x'?` for an error message; empty when nothing is close."""
    match = nearest(word, choices)
    return f": did you mean '{match}'?" if match else ""


def some(names: Collection[str], see: str = "", most: int = 90) -> str:
    """The names with commas between, in so many characters; more of them are counted.

    Args:
        see: A command that lists them all.
    """
    found, rest = "", list(names)
    while rest and len(found) + len(rest[0]) <= most:
        found += f"{', ' if found else ''}{rest.pop(0)}"
    more = f" ... and {len(rest)} more" + (f": `{see}`" if see else "")
    return found + more * bool(rest) if names else "none"

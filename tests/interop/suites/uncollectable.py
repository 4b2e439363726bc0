"""A module that cannot be imported. Copied to `test_uncollectable.py` before it is run."""

raise RuntimeError("broken on import: <&> ]]> 😀 \x1b[31m")


def test_is_never_reached():
    pass

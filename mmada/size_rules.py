"""Which sizes fit together: asked of params.yaml before anything runs, and of whoever calls the networks.

Each rule says what is wrong, "" where nothing is. No torch here: the parameters are read where there is none.
"""


def text_split_fault(tokens: int, steps: int, block: int, *, is_parallel: bool) -> str:
    """Whether `tokens`, in blocks of `block`, can be revealed in `steps` steps: an equal share of them for each block.

    With `is_parallel`, confidence decides how many steps there are. All numbers are positive.
    """
    blocks, rest = divmod(tokens, block)
    if not blocks or rest or (steps % blocks and not is_parallel):
        return (
            f"{tokens} text tokens in blocks of {block} with {steps} steps do not split evenly; make tokens a multiple "
            "of the block, steps of the number of blocks"
        )
    return ""


def head_width_fault(d_model: int, n_heads: int) -> str:
    """Whether the heads share the width evenly; rotary embeddings turn the channels of a head in pairs."""
    if d_model % (2 * n_heads):
        return f"d_model {d_model} over {n_heads} heads gives no even head width; change either"
    return ""

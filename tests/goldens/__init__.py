"""Numbers measured with the authors' implementations, and the command that checks ours against them.

`python -m tests.goldens DIR` checks any folder of this format: an `index.json` with cases, each of a `kind`, and a file
per case. A module of `tests/goldens/kinds` declares the kinds of a subject in its `KINDS`:

    def attention(case: Case) -> Results:
        net = MaskedAttention(case.config["width"])
        net.load_state_dict(case.state())
        y = net(case.tensors["in.x"].requires_grad_())
        loss = weighted_loss(case, weight=y)
        return {"out.y": y, "out.labels": y > 0, "grad.": gradients(loss, net, x=case.tensors["in.x"])}

    KINDS = {"my_attention": Kind(attention, {"out.y": scaled(2e-5), "grad.": relative(1e-4)})}

The function takes what the case gives (`in.`, `state.`, `config`) and returns results under the names of the file. The
engine (`harness.py`) compares those that the case stores, each with the tolerance of the longest name or prefix that
fits, exactly where none does; what is stored and not returned fails. `Clear` leaves out labels that rounding decides,
`Change` compares movements, `Same` anything that is no tensor, `few` allows a share of the entries to differ, `stated`
takes a tolerance from the case's entry. A function that holds several ways against one result yields them one by one.
`networks.py` has weights by formula, watched parts and gradients, `meters.py` what protocols of one class share.
"""

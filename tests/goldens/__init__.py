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

The function takes what the case gives (`in.`, `state.`, `config`; each setting has to be read, or `settings.yaml` says
that it describes or is a constant of ours) and returns results under the names of the file. The
engine (`harness.py`) compares those that the case stores, each with the tolerance of the longest name, prefix or
`<prefix>*<end>` that fits, exactly where none does; what is stored and not returned fails. A kind compares nothing by
itself: how a result is held against the stored one is declared, too.

- `Forms`: in each form that is stored of a large tensor (first entries, length, means; `forms.py`).
- `Result`: with a view of the stored tensor, as a part of a larger one, or with a tolerance that follows from values;
  `change` compares movements.
- `Clear`: labels but for those that rounding decides.
- `Same`, `Near`: with what the case states elsewhere, equal or within the tolerance of the name.

What is null in a case is absent: nothing is compared with it.

`few` allows a share of the entries to differ, `stated` takes a tolerance from the case's entry, `relative_to_whole`
measures a part by the whole. A function that holds several ways against one result yields them one by one.
`networks.py` has weights by formula, watched parts, gradients and steps of training, `meters.py` what protocols share:
counts and scores of one class, rows of episodes, the way from counts to the scores of a protocol.
"""

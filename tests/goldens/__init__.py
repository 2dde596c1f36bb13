"""Numbers measured with the authors' implementations, and the command that checks ours against them.

`python -m tests.goldens DIR` checks any folder of this format: an `index.json` with cases, each of a `kind`, and a file
per case. A module of `tests/goldens/kinds` declares the kinds of a subject in its `KINDS`:

    def attention(case: Case, width: int, x: Tensor, mask: Tensor | None = None) -> Results:
        net = loaded(MaskedAttention(width), case.state())
        y = net(x.requires_grad_(), mask)
        loss = weighted_loss(case, weight=y)
        return {"out.y": y, "out.labels": y > 0, "grad.": gradients(loss, net, x=x)}

    KINDS = {"my_attention": Kind(attention, {"out.y": scaled(2e-5), "grad.": relative(1e-4)})}

The parameters say what a kind takes from a case: a tensor `x` is its `in.x`, `width` a setting of its `config`; what
has a default may be absent, or null. Each setting has to be read, or `settings.yaml` says that it describes or is a
constant of ours. Results stand under the names of the file. The interpreter (`harness.py`) compares those that the case
stores, each with the tolerance of the longest name, prefix or `<prefix>*<end>` that fits, exactly where none does; what
is stored and not returned fails. A kind compares nothing by itself: how a result is held against the stored one is
declared, too (`declared.py`).

- `Forms`: in each form that is stored of a large tensor (first entries, length, means; `forms.py`).
- `Result`: with a view of the stored tensor, as a part of a larger one, or with a tolerance that follows from values;
  `change` compares movements.
- `Clear`: labels but for those that rounding decides.
- `Same`, `Near`: with what the case states elsewhere, equal or within the tolerance of the name.

What is null in a case is absent: nothing is compared with it.

`few` allows a share of the entries to differ, `stated` takes a tolerance from the case's entry, `relative_to_whole`
measures a part by the whole. A function that holds several ways against one result yields them one by one. A kind that
is computed in several types states its `precisions`; its function takes the `dtype`, and tensors of each type get the
words of that type behind their names.

`cases.py` reads a case. `networks.py` has weights by formula, watched parts, gradients, steps of training and layouts,
`batches.py` training batches of images that a formula gives, `keyed.py` all that follows from a hash of a key,
`meters.py` what protocols share: counts and scores of one class, rows of episodes, the way from counts to the scores of
a protocol.
"""

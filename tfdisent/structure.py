"""Directed acyclic graphs over the entries of a code (CascadeVAE, figure 3).

An edge leads from a latent to one that is made of it. Latents count from 1, as
in the paper and its figures.

```python
structure = Structure.parse("1->3,2->3", num_latents=10)
structure = Structure.parse("hair=colour+length", num_latents=10)
structure.covariance()[2, 0]  # .5774 of the first
```
"""

import dataclasses
import graphlib
import re

import numpy as np

from tfdisent.errors import InputError

# CascadeVAE's figure 3, read off its captions and traversals: in b and c the
# high-order latent is the parent of those it is decomposed into, in d, e and f
# the child of those it is composed of.
NAMED = {
    "a": "",
    "b": "1->2,1->3",
    "c": "1->2,1->3,1->4",
    "d": "1->3,2->3",
    "e": "1->4,2->4,3->4",
    "f": "1->3,2->3,3->5,4->5",
}
CONDITIONALS = ("linear_sem", "mean", "mixed")

_NUMBER = re.compile(r"z?(\d+)")
_NAME = re.compile(r"[^\W\d][\w .-]*")


@dataclasses.dataclass(frozen=True)
class Structure:
    """A Bayesian network over a code: p(z) = prod_j p(z_j | parents of z_j).

    Every latent also has a standard normal input of its own. The paper leaves
    the conditional open; here, in topological order,

    - `linear_sem`: z^B_j = (z_j + sum_p z^B_p) / its standard deviation. All
      latents keep variance 1, so the structure does not argue with a VAE's
      prior, and no child is a function of its parents alone.
    - `mean`: z^B_j = (z_j + sum_p z^B_p) / (1 + number of parents): variance
      shrinks from parents to children.
    - `mixed`: as `linear_sem`, with the re-encoded parents z^_p in place of
      z^B_p. Parents and child of z^B then correlate as `linear_sem`'s do times
      the correlation of z_p with z^_p: the structure is taught where codes are
      found again, and hardly where they are not.

    Args:
      num_latents: d, size of the code.
      edges: `(parent, child)` pairs of numbers from 1 to d.
      names: d names, `z1` .. where left out.

    Raises:
      InputError: (a ValueError) a number outside 1 .. d, an edge given twice,
        or a cycle.
    """

    num_latents: int
    edges: tuple = ()
    names: tuple = ()

    def __post_init__(self):
        count = self.num_latents
        edges = tuple((int(p), int(c)) for p, c in self.edges)
        names = tuple(self.names) or tuple(f"z{n + 1}" for n in range(count))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "names", names)
        for edge in edges:
            shown = f"{edge[0]}->{edge[1]}"
            if not all(1 <= number <= count for number in edge):
                raise InputError(
                    f"structure: {shown} leaves the latents 1 .. {count}."
                )
            if edges.count(edge) > 1:
                raise InputError(f"structure: {shown} is there twice.")
        if len(names) != count or len(set(names)) != count:
            raise InputError(
                f"structure: expected {count} different names. Received: "
                f"{', '.join(names)}."
            )
        try:
            self.order()
        except graphlib.CycleError as error:
            cycle = "->".join(str(number) for number in error.args[1])
            raise InputError(
                f"structure: {cycle} is a cycle; no latent can be made of "
                "itself."
            ) from None

    # ---- from words ------------------------------------------------------

    @classmethod
    def named(cls, name, num_latents):
        """One of the paper's six, `"a"` (no edges) to `"f"`.

        Raises:
          InputError: there is no such structure, or too few latents for it.
        """
        if name not in NAMED:
            raise InputError(
                f"structure={name}: expected one of {', '.join(NAMED)}, or "
                "edges such as 1->3,2->3 or hair=colour+length."
            )
        return cls.parse(NAMED[name], num_latents)

    @classmethod
    def parse(cls, text, num_latents):
        """The structure of a text.

        Args:
          text: edges, `"1->3,2->3"`, or sums, `"3=1+2"`, separated by commas;
            empty for none. A latent is a number or a name. A name takes the
            first number that the text does not use, in order of appearance.
          num_latents: d.

        Raises:
          InputError: no such text, or no such graph (see the class).
        """
        pairs = [pair for item in _items(text) for pair in _pairs(item)]
        used = {
            int(_NUMBER.fullmatch(node)[1])
            for pair in pairs
            for node in pair
            if _NUMBER.fullmatch(node)
        }
        free = (n for n in range(1, num_latents + 1) if n not in used)
        numbers, names = {}, [f"z{n + 1}" for n in range(num_latents)]
        for node in (node for item in _items(text) for node in _nodes(item)):
            if _NUMBER.fullmatch(node):
                numbers[node] = int(_NUMBER.fullmatch(node)[1])
            elif node not in numbers:
                number = next(free, None)
                if number is None:
                    raise InputError(
                        f"structure={text}: no latent is left for {node!r}; "
                        f"there are {num_latents}."
                    )
                numbers[node] = number
                names[number - 1] = node
        edges = [(numbers[parent], numbers[child]) for parent, child in pairs]
        return cls(num_latents, tuple(edges), tuple(names))

    @classmethod
    def read(cls, text, num_latents):
        """`parse` of anything with an edge in it, else `named`."""
        if "->" in text or "=" in text:
            return cls.parse(text, num_latents)
        return cls.named(text.strip(), num_latents)

    def __str__(self):
        return ",".join(f"{parent}->{child}" for parent, child in self.edges)

    # ---- the graph -------------------------------------------------------

    def parents(self, child):
        """Numbers of the latents that a latent is made of."""
        return [p for p, c in self.edges if c == child]

    def children(self):
        """Numbers of the latents with parents, ascending."""
        return sorted({child for _, child in self.edges})

    def wholes(self):
        """Composite latents, {number: numbers of what they consist of}.

        A latent of several parents is composed of them (d, e and f), one with
        several children that have no other parent is decomposed into them (b
        and c). A child of one parent, which has no other such child, consists
        of it.
        """
        wholes = {}
        for node in range(1, self.num_latents + 1):
            parents = self.parents(node)
            own = [c for c in self.children() if self.parents(c) == [node]]
            siblings = [
                c for c in self.children() if parents == self.parents(c)
            ]
            if len(parents) > 1:
                wholes[node] = parents
            elif len(own) > 1:
                wholes[node] = own
            elif siblings == [node]:
                wholes[node] = parents
        return wholes

    def order(self):
        """All numbers, parents before children."""
        graph = {n + 1: self.parents(n + 1) for n in range(self.num_latents)}
        return list(graphlib.TopologicalSorter(graph).static_order())

    def depths(self):
        """{number: edges on the longest way to it}."""
        depths = {}
        for node in self.order():
            above = [depths[parent] for parent in self.parents(node)]
            depths[node] = 1 + max(above, default=-1)
        return depths

    def permuted(self, numbers):
        """The same graph with its nodes on other latents.

        Args:
          numbers: d numbers from 1 to d, each once; node n goes to
            `numbers[n - 1]`. Names stay with the latents.
        """
        edges = [
            (int(numbers[p - 1]), int(numbers[c - 1])) for p, c in self.edges
        ]
        return Structure(self.num_latents, tuple(edges), self.names)

    # ---- its distribution ------------------------------------------------

    def weights(self, conditional="linear_sem"):
        """W of z^B = W z; float64 `[d, d]`.

        That of `mixed` holds where every parent is re-encoded exactly.
        """
        return self._mixing(conditional)[0]

    def covariance(self, conditional="linear_sem"):
        """Cov(z^B) = W W^T for standard normal z; float64 `[d, d]`."""
        weights = self.weights(conditional)
        return weights @ weights.T

    def sample(self, z, conditional="linear_sem", reencoded=None):
        """z^B of the network's inputs.

        Args:
          z: float `[B, d]`, standard normal; an array or a tensor.
          conditional: one of `CONDITIONALS`.
          reencoded: float `[B, d]`, z^, for `mixed`.

        Returns:
          Float `[B, d]`, what `z` is.

        Raises:
          ValueError: unknown conditional, or `mixed` without `reencoded`.
        """
        weights, scales = self._mixing(conditional)
        if conditional != "mixed":
            return z @ weights.T.astype(np.float32)
        if reencoded is None:
            raise ValueError("conditional mixed needs reencoded latents.")
        from_parents = self._adjacency() * scales
        return z * scales.astype(np.float32) + reencoded @ from_parents.astype(
            np.float32
        )

    def _adjacency(self):
        """float64 `[d, d]`, 1 at [parent, child]."""
        matrix = np.zeros((self.num_latents, self.num_latents))
        for parent, child in self.edges:
            matrix[parent - 1, child - 1] = 1
        return matrix

    def _mixing(self, conditional):
        """W, and what every latent's sum is multiplied by, `[d]`."""
        if conditional not in CONDITIONALS:
            raise ValueError(
                f"conditional must be one of {list(CONDITIONALS)}. Received: "
                f"{conditional}"
            )
        weights, scales = np.eye(self.num_latents), np.ones(self.num_latents)
        for node in self.order():
            parents = self.parents(node)
            row = weights[node - 1]
            for parent in parents:
                row += weights[parent - 1]
            scale = 1 / np.linalg.norm(row)
            if conditional == "mean":
                scale = 1 / (1 + len(parents))
            row *= scale
            scales[node - 1] = scale
        return weights, scales


def _items(text):
    return [item.strip() for item in text.split(",") if item.strip()]


def _nodes(item):
    """Nodes of `1->3` or `3=1+2` in the order they are written."""
    arrow, sign = item.split("->"), item.split("=")
    if len(arrow) == 2 and len(sign) == 1:
        nodes = arrow
    elif len(sign) == 2 and len(arrow) == 1:
        nodes = [sign[0], *sign[1].split("+")]
    else:
        nodes = [""]
    nodes = [node.strip() for node in nodes]
    for node in nodes:
        if not _NUMBER.fullmatch(node) and not _NAME.fullmatch(node):
            raise InputError(
                f"structure: {item!r} is no edge; expected 1->3, 3=1+2 or "
                "hair=colour+length."
            )
    return nodes


def _pairs(item):
    """`(parent, child)` of an item."""
    first, *others = _nodes(item)
    if "->" in item:
        return [(first, others[0])]
    return [(parent, first) for parent in others]

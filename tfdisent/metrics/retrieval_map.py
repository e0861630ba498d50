"""Mean average precision of retrieval by codes."""

import numpy as np

from tfdisent.metrics import validate

# Queries whose distances are in memory at once.
_QUERIES_AT_ONCE = 64


def retrieval_map(
    query_codes,
    query_labels,
    database_codes,
    database_labels,
    *,
    distance="euclidean",
):
    """Mean average precision over full rankings of the database.

    Per query, the mean over its relevant items, of the same label, of
    `relevant items up to this rank / this rank`. Equal distances keep the
    order of the database.

    Args:
        query_codes: Floats `[Q, D]`.
        query_labels: Integers `[Q]`.
        database_codes: Floats `[N, D]`.
        database_labels: Integers `[N]`; every query's label occurs.
        distance: "euclidean", or "hamming" for codes of two values (bits,
            signs), the number of places that differ.

    Returns:
        A float in (0, 1], the mean over queries; 1 if all relevant items come
        first.

    Raises:
        ValueError: If an argument has a wrong shape or NaN, `distance` is
            unknown, Hamming codes have more than two values, or a query has
            no relevant item.

    Reference: Manning et al., Introduction to Information Retrieval, 2008,
    equation 8.8.
    """
    queries = validate.matrix("query_codes", query_codes, rows=1)
    database = validate.matrix("database_codes", database_codes, rows=1)
    query_labels = validate.labels("query_labels", query_labels)
    database_labels = validate.labels("database_labels", database_labels)
    validate.same_width(query_codes=queries, database_codes=database)
    validate.same_length(query_codes=queries, query_labels=query_labels)
    validate.same_length(
        database_codes=database, database_labels=database_labels
    )
    unknown = np.setdiff1d(query_labels, database_labels)
    if unknown.size:
        raise ValueError(
            "query_labels must all occur in database_labels. Received: "
            f"{unknown.tolist()} without a relevant item"
        )
    if distance == "euclidean":
        distances = _euclidean
    elif distance == "hamming":
        queries, database = _signs(queries, database)
        distances = _hamming
    else:
        raise ValueError(
            f'distance must be "euclidean" or "hamming". Received: {distance!r}'
        )
    total = 0.0
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        block = slice(start, start + _QUERIES_AT_ONCE)
        rows = distances(queries[block], database)
        for label, row in zip(query_labels[block], rows, strict=True):
            ranking = _stable_ranking(row)
            total += _average_precision(database_labels[ranking] == label)
    return total / len(queries)


def _stable_ranking(distances):
    if distances.dtype == np.float64:
        # The unstable sort is several times faster and, where no two
        # distances are equal, gives the same ranking.
        ranking = np.argsort(distances)
        ordered = distances[ranking]
        if np.all(ordered[1:] > ordered[:-1]):
            return ranking
    return np.argsort(distances, kind="stable")


def _average_precision(relevant):
    ranks = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def _euclidean(queries, database):
    from scipy.spatial.distance import cdist

    # Term by term, not |q|^2 - 2 q d + |d|^2: that loses exact ties.
    return cdist(queries, database, "sqeuclidean")


def _hamming(queries, database):
    # Of signs, a product of -1 for each place that differs, else of +1.
    width = database.shape[1]
    differing = (width - queries @ database.T) / 2
    # NumPy sorts 16 bits by radix, many times faster than floats.
    return differing.astype(np.uint16 if width < 2**16 else np.uint32)


def _signs(queries, database):
    values = np.union1d(queries, database)
    if len(values) > 2:
        raise ValueError(
            "query_codes and database_codes must hold two values in all for "
            f"the Hamming distance. Received: {len(values)} values, "
            f"{values[0]} to {values[-1]}"
        )
    return [
        np.where(codes == values[-1], np.float32(1), np.float32(-1))
        for codes in (queries, database)
    ]

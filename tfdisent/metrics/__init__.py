"""Scores of representations: arrays in, floats out, seeded.

Every score is a pure function in a file of its own; `METRICS` finds it by
name. scikit-learn and SciPy are imported where they are used, so that listing
the scores takes no time.
"""

from tfdisent.metrics.aggregated_posterior import aggregate_information_matrix
from tfdisent.metrics.beta_vae_score import beta_vae_score
from tfdisent.metrics.dci import DCI
from tfdisent.metrics.dci import Importance
from tfdisent.metrics.dci import dci
from tfdisent.metrics.dci import dci_from_importance
from tfdisent.metrics.dci import importance_matrix
from tfdisent.metrics.explicitness import explicitness
from tfdisent.metrics.factor_vae_score import factor_vae_score
from tfdisent.metrics.few_shot import Interval
from tfdisent.metrics.few_shot import few_shot_accuracy
from tfdisent.metrics.few_shot import paired_difference
from tfdisent.metrics.frechet_distance import frechet_distance
from tfdisent.metrics.hierarchical_accuracy import hierarchical_accuracy
from tfdisent.metrics.inception_score import InceptionScore
from tfdisent.metrics.inception_score import inception_score
from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.information_matrix import information_matrix
from tfdisent.metrics.irs import irs
from tfdisent.metrics.linear_probe import linear_probe
from tfdisent.metrics.mig import mig
from tfdisent.metrics.mig import mig_from_shares
from tfdisent.metrics.mig_aggregate import mig_aggregate
from tfdisent.metrics.mig_sup import mig_sup
from tfdisent.metrics.mig_sup import mig_sup_from_shares
from tfdisent.metrics.mig_sup_aggregate import mig_sup_aggregate
from tfdisent.metrics.modularity import modularity
from tfdisent.metrics.mutual_information import Overlap
from tfdisent.metrics.mutual_information import information_overlap
from tfdisent.metrics.mutual_information import mutual_information
from tfdisent.metrics.mutual_information import mutual_information_per_code
from tfdisent.metrics.retrieval_map import retrieval_map
from tfdisent.metrics.sap import sap
from tfdisent.metrics.total_correlation import total_correlation
from tfdisent.metrics.udr import udr
from tfdisent.metrics.unseen_category import UnseenCategory
from tfdisent.metrics.unseen_category import unseen_category

METRICS = {
    "beta_vae_score": beta_vae_score,
    "dci": dci,
    "explicitness": explicitness,
    "factor_vae_score": factor_vae_score,
    "few_shot_accuracy": few_shot_accuracy,
    "frechet_distance": frechet_distance,
    "hierarchical_accuracy": hierarchical_accuracy,
    "inception_score": inception_score,
    "information_overlap": information_overlap,
    "irs": irs,
    "linear_probe": linear_probe,
    "mig": mig,
    "mig_aggregate": mig_aggregate,
    "mig_sup": mig_sup,
    "mig_sup_aggregate": mig_sup_aggregate,
    "modularity": modularity,
    "mutual_information": mutual_information,
    "mutual_information_per_code": mutual_information_per_code,
    "paired_difference": paired_difference,
    "retrieval_map": retrieval_map,
    "sap": sap,
    "total_correlation": total_correlation,
    "udr": udr,
    "unseen_category": unseen_category,
}

__all__ = [
    "DCI",
    "METRICS",
    "Importance",
    "InceptionScore",
    "Interval",
    "Overlap",
    "UnseenCategory",
    "aggregate_information_matrix",
    "dci_from_importance",
    "factor_entropies",
    "importance_matrix",
    "information_matrix",
    "mig_from_shares",
    "mig_sup_from_shares",
    *METRICS,
]

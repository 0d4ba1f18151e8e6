"""Recipes of the text-only systems. Hyper-parameters that are not the paper's name their source."""

from __future__ import annotations

from typing import Any

from mkgc_cl.data.samples import LabelSpace
from mkgc_cl.memory.exemplars import NaPolicy
from mkgc_cl.models import MemoryAttentionReadout, PrototypeReadout, TextModel
from mkgc_cl.models.base import Tagger
from mkgc_cl.objectives.token_distillation import Restrict
from mkgc_cl.strategies.emar import EMARPlugin
from mkgc_cl.strategies.ewc import EWCMode, EWCPlugin
from mkgc_cl.strategies.recipe import Encoders, Training, assemble
from mkgc_cl.strategies.replay import PrototypeReplayPlugin
from mkgc_cl.strategies.rp_cre import RPCREPlugin
from mkgc_cl.strategies.stages import StepPolicy
from mkgc_cl.strategies.template import MultimodalStrategy
from mkgc_cl.strategies.token_distillation import TokenDistillationPlugin


def vanilla(
    labels: LabelSpace, encoders: Encoders, training: Training, *, tagger: Tagger = "crf"
) -> MultimodalStrategy:
    """Fine-tune BERT task after task: the lower bound of the tables.

    Relations are read from the start markers of both entities, tags by a linear layer and a CRF
    (paper, section 5.1: "for fair benchmarking").

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        tagger: what scores tags (a CRF: the paper).
    """
    return assemble(text_model(labels, encoders, training.seed, tagger=tagger), training)


def ewc(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    weight: float = 100.0,
    mode: EWCMode = "online",
    decay: float = 1.0,
    samples: int | None = 256,
) -> MultimodalStrategy:
    """Vanilla with elastic weight consolidation (Kirkpatrick et al., PNAS 2017).

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        weight: lambda (100: code of Han et al. 2020).
        mode: how tasks accumulate, see :class:`EWCPlugin` (online: Schwarz et al. 2018).
        decay: factor on the Fisher of earlier tasks (1, a plain sum: Huszar 2018).
        samples: samples of a task that the Fisher is estimated on (256: ours, for its cost);
            ``None`` for all.
    """
    plugin = EWCPlugin(weight=weight, mode=mode, decay=decay, samples=samples, seed=training.seed)
    return assemble(text_model(labels, encoders, training.seed), training, plugin)


def emr(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    exemplars: int | None = None,
    na_policy: NaPolicy = "merge",
) -> MultimodalStrategy:
    """Episodic memory replay (Wang et al., NAACL 2019), with BERT in place of the BiLSTM.

    Before every batch one step on the whole memory of one past task, in turn. The exemplars are
    nearest to K-means centers of L2-normalized features. The original ranks the gold relation among
    given candidates; here all seen classes compete, as everywhere in the tables.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        exemplars: of every class; by default 50 of every task (the authors' code).
        na_policy: what becomes of N/A in a memory of classes (one class like any other: ours).
    """
    plugin = PrototypeReplayPlugin(
        size=50 if exemplars is None else exemplars,
        scope="task" if exemplars is None else "class",
        na_policy=na_policy,
        schedule="round-robin",
        features="spans" if labels.kind == "ner" else "sample",
        normalize=True,
        seed=training.seed,
    )
    return assemble(text_model(labels, encoders, training.seed), training, plugin)


def emar_bert(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    exemplars: int = 10,
    cycles: int = 2,
    memory_lr_scale: float = 1.0,
    na_policy: NaPolicy = "merge",
    normalize: bool = False,
    mix_head_rows: bool = True,
    fresh_optimizer: bool = True,
    max_grad_norm: float | None = 10.0,
    dropout: float | None = None,
    head_bias: bool | None = None,
) -> MultimodalStrategy:
    """Episodic memory activation and reconsolidation (Han et al., ACL 2020) on BERT.

    As the public BERT version (Wang et al., EMNLP 2022) trains it, with the paper's head: one
    linear layer over entity markers. The port to tagging has the head that every text system has
    (paper, section 3: "for fair benchmarking").

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train; ``epochs`` is the initial stage (RELEASED CODE: 2),
            ``projection_lr`` the rate of the projection between markers and head. RELEASED CODE:
            the encoder's.
        exemplars: of every class (10: public BERT version, Wang et al. 2022).
        cycles: rounds of activation and reconsolidation (2: the authors' code).
        memory_lr_scale: factor on the learning rates in both (1: the authors' code).
        na_policy: what becomes of N/A in the memory (one class like any other: ours).
        normalize: average exemplars of length 1 in reconsolidation, too (ours; off in the paper and
            both public codes).
        mix_head_rows: mix the head's rows into the prototypes it predicts by (public BERT version).
        fresh_optimizer: begin every stage without moments, as with a new Adam (Han et al. and
            public BERT version).
        max_grad_norm: bound on the norm of all gradients, ``None`` for none (10: public BERT
            version).
        dropout: on what the projection reads (0.5: public BERT version), or the tagging head (0.1:
            the text model's).
        head_bias: give the head a bias (off: public BERT version; for tags on: the text model's).
    """
    plugin = EMARPlugin(
        size=exemplars,
        cycles=cycles,
        lr_scale=memory_lr_scale,
        na_policy=na_policy,
        normalize=normalize,
        mix_head_rows=mix_head_rows,
        seed=training.seed,
    )
    tags = labels.kind == "ner"
    model = text_model(
        labels,
        encoders,
        training.seed,
        projection=True,
        dropout=(0.1 if tags else 0.5) if dropout is None else dropout,
        head_bias=tags if head_bias is None else head_bias,
    )
    if not tags:
        outputs, width = model.head.rows.shape
        model.readout = PrototypeReadout(outputs=outputs, width=width)
    steps = StepPolicy(fresh_optimizer=fresh_optimizer, max_grad_norm=max_grad_norm)
    return assemble(model, training, plugin, steps=steps)


def rp_cre(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    exemplars: int = 10,
    memory_epochs: int = 10,
    memory_lr_scale: float = 1.0,
    network_lr: float = 1e-4,
    na_policy: NaPolicy = "merge",
    fresh_optimizer: bool = True,
    max_grad_norm: float | None = 10.0,
    dropout: float = 0.5,
    head_bias: bool = False,
) -> MultimodalStrategy:
    """Refining sample embeddings with relation prototypes (Cui et al., ACL 2021). Relations only.

    As the authors' code trains it, with the paper's head: one linear layer over entity markers.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train; ``projection_lr`` is the rate of the projection between markers and
            head. RELEASED CODE: the encoder's.
        exemplars: of every relation (10: the authors' code).
        memory_epochs: epochs on the memory through the memory network (10: the authors' code).
        memory_lr_scale: factor there on all rates but the network's (1: the authors' code).
        network_lr: learning rate of the memory network (1e-4: the authors' code).
        na_policy: what becomes of N/A in the memory (one class like any other: ours).
        fresh_optimizer: begin every stage without moments, as the authors' code does with a new
            Adam.
        max_grad_norm: bound on the norms of the gradients of encoder, head and network, one by one
            (10: the authors' code); ``None`` for none.
        dropout: on what the projection reads (0.5: the authors' code).
        head_bias: give the head a bias (off: the authors' code).
    """
    plugin = RPCREPlugin(
        size=exemplars,
        memory_epochs=memory_epochs,
        lr_scale=memory_lr_scale,
        na_policy=na_policy,
        seed=training.seed,
    )
    model = text_model(
        labels, encoders, training.seed, projection=True, dropout=dropout, head_bias=head_bias
    )
    model.readout = MemoryAttentionReadout(model.head, seed=training.seed)
    steps = StepPolicy(
        fresh_optimizer=fresh_optimizer, max_grad_norm=max_grad_norm, norm_by_part=True
    )
    return assemble(model, training, plugin, readout_lr=network_lr, steps=steps)


def extend_ner(
    labels: LabelSpace,
    encoders: Encoders,
    training: Training,
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
    restrict: Restrict = "pad",
) -> MultimodalStrategy:
    """ExtendNER (Monaikul et al., AAAI 2021): the previous tagger teaches what is not new.

    Word by word, without a learnt CRF, decoded under the grammar of BIO. Tagging only.

    Args:
        labels: the stream's classes.
        encoders: the encoders.
        training: how to train.
        weight: of the distillation against the cross-entropy (1: both public versions).
        temperature: of the distillation (1: both public versions).
        restrict: what the student's probabilities are compared over, see
            :class:`TokenDistillationPlugin` (all its tags, the new ones too: ours).
    """
    plugin = TokenDistillationPlugin(weight=weight, temperature=temperature, restrict=restrict)
    model = text_model(labels, encoders, training.seed, tagger="softmax")
    return assemble(model, training, plugin)


def text_model(labels: LabelSpace, encoders: Encoders, seed: int, **options: Any) -> TextModel:
    """Build the text-only model of these encoders."""
    return TextModel.build(
        labels,
        text=encoders.text,
        pretrained=encoders.pretrained,
        max_text_length=encoders.max_text_length,
        freeze_lower=encoders.freeze_lower,
        captions=encoders.captions_behind_text,
        seed=seed,
        **options,
    )

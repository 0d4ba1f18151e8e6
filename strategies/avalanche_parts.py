"""Parts of Avalanche 0.6: what works on samples of text and images, and what to use for the rest.

Data only. The README prints it, a test tries every row, and
:mod:`mkgc_cl.strategies.compatibility` refuses by it. Classes stand here by name, so that none of
them is imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from mkgc_cl.data.samples import TaskKind

BOTH: tuple[TaskKind, ...] = ("re", "ner")
NEITHER: tuple[TaskKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of Avalanche; its subclasses count as it does.

    Args:
        path: module and class under ``avalanche``.
        siblings: more classes of the module for which the same holds.
        helper: the function that one calls to have it, if not the class.
        works: tasks it works for.
        note: what to know where it works.
        reason: why it does not work elsewhere.
        instead: what to use there.
        gpu_only: it works on a GPU only.
        scores: a metric that reads outputs and labels; it gets one row per sample or word.
        per_stream: a metric that keeps values from one evaluation to the next without telling
            streams apart; every stream gets a copy.
    """

    path: str
    siblings: tuple[str, ...] = ()
    helper: str = ""
    works: tuple[TaskKind, ...] = BOTH
    note: str = ""
    reason: str = ""
    instead: str = ""
    gpu_only: bool = False
    scores: bool = False
    per_stream: bool = False

    @property
    def name(self) -> str:
        """What one writes to have it."""
        return self.helper or self.path.rsplit(".", 1)[1]

    @property
    def classes(self) -> tuple[str, ...]:
        """Qualified names of its classes."""
        module = self.path.rsplit(".", 1)[0]
        return (f"avalanche.{self.path}", *(f"avalanche.{module}.{name}" for name in self.siblings))


def _refused(path: str, reason: str, instead: str, *siblings: str, helper: str = "") -> Part:
    return Part(path, siblings, helper, works=NEITHER, reason=reason, instead=instead)


# Reasons that several share.
PIXELS = "computes on its input as on one tensor of pixels; a sample is text and images"
LAST_LAYER = "looks for the classes in the last `nn.Linear`, which here is inside an encoder"
NCM = "wants Avalanche's own nearest-mean classifier as the model's last layer"
GENERATOR = "wants a model that generates its inputs"
CRITERION = "is a criterion; here the model's own loss is the criterion"
LWF_TAGS = "takes the label it groups a sentence by for an output; an output is B or I of a type"
SI_CPU = "on a CPU takes for a copy of the weights what is none, so its penalty is always 0"
NO_COLLATE = "makes loaders that ignore the dataset's collate function"
MODULE = "wants a model made of Avalanche's own modules"
POLLS = "writes 0 where its thread took no reading"

PLUGINS = (
    Part("training.plugins.agem.AGEMPlugin"),
    Part("training.plugins.ewc.EWCPlugin"),
    Part(
        "training.plugins.early_stopping.EarlyStoppingPlugin",
        note='with `eval_every=1` and, say, `metric_name="A_Stream"`',
    ),
    Part(
        "training.plugins.lr_scheduling.LRSchedulerPlugin",
        note="`metric=` averages steps, not samples",
    ),
    Part("training.plugins.mas.MASPlugin"),
    Part(
        "training.plugins.replay.ReplayPlugin",
        note="with `ClassBalancedBuffer`, `ExperienceBalancedBuffer`, `ReservoirSamplingBuffer`",
    ),
    Part("training.plugins.rwalk.RWalkPlugin"),
    Part(
        "training.plugins.lwf.LwFPlugin",
        works=("re",),
        reason=LWF_TAGS,
        instead="`TokenDistillationPlugin`",
    ),
    Part(
        "training.plugins.synaptic_intelligence.SynapticIntelligencePlugin",
        gpu_only=True,
        reason=SI_CPU,
        instead="`EWCPlugin`",
    ),
    _refused(
        "training.plugins.bic.BiCPlugin",
        "replaces the dataset of an experience, and computes on group labels as on outputs",
        "`EMARPlugin` or `RPCREPlugin`, which read classes off prototypes",
    ),
    _refused("training.plugins.cwr_star.CWRStarPlugin", LAST_LAYER, "`PrototypeReplayPlugin`"),
    _refused("training.plugins.cope.CoPEPlugin", LAST_LAYER, "`EMARPlugin` or `RPCREPlugin`"),
    _refused(
        "training.plugins.feature_distillation.FeatureDistillationPlugin",
        "reads features off the module (`model.features`); here they are in the output",
        "`AttentionDistillationPlugin`",
    ),
    _refused(
        "training.plugins.from_scratch_training.FromScratchTrainingPlugin",
        "resets an optimizer of one parameter group only",
        "`adapt_strategy(FromScratchTraining)`",
    ),
    _refused(
        "training.plugins.gdumb.GDumbPlugin",
        "replaces the model, which here belongs to its optimizer",
        "`adapt_strategy(GDumb)`",
    ),
    _refused("training.plugins.gem.GEMPlugin", PIXELS, "`AGEMPlugin`"),
    _refused("training.plugins.gss_greedy.GSS_greedyPlugin", PIXELS, "`PrototypeReplayPlugin`"),
    _refused(
        "training.plugins.generative_replay.GenerativeReplayPlugin",
        GENERATOR,
        "`PrototypeReplayPlugin`",
    ),
    _refused(
        "training.plugins.generative_replay.TrainGeneratorAfterExpPlugin",
        GENERATOR,
        "`PrototypeReplayPlugin`",
    ),
    _refused(
        "training.plugins.lfl.LFLPlugin",
        "wants a model with `get_features`",
        "`AttentionDistillationPlugin`",
    ),
    _refused("training.plugins.mir.MIRPlugin", NO_COLLATE, "`ReplayPlugin`"),
    _refused("training.plugins.rar.RARPlugin", PIXELS, "`PrototypeReplayPlugin`"),
    _refused("training.plugins.update_ncm.CurrentDataNCMUpdate", NCM, "`EMARPlugin` (relations)"),
    _refused("training.plugins.update_ncm.MemoryNCMUpdate", NCM, "`EMARPlugin` (relations)"),
    _refused("training.plugins.update_ncm.NCMOracle", NCM, "`EMARPlugin` (relations)"),
    _refused(
        "training.plugins.update_fecam.CurrentDataFeCAMUpdate", NCM, "`EMARPlugin` (relations)"
    ),
    _refused("training.plugins.update_fecam.MemoryFeCAMUpdate", NCM, "`EMARPlugin` (relations)"),
    _refused("training.plugins.update_fecam.FeCAMOracle", NCM, "`EMARPlugin` (relations)"),
    _refused(
        "training.losses.ICaRLLossPlugin", CRITERION, "`LwFPlugin` or `TokenDistillationPlugin`"
    ),
    _refused(
        "training.losses.MaskedCrossEntropy",
        CRITERION,
        "none: outputs that no task has brought yet are masked already",
    ),
    _refused("training.plugins.evaluation.EvaluationPlugin", "is given by itself", "`evaluator=`"),
)

METRICS = (
    Part(
        "evaluation.metrics.accuracy.AccuracyPluginMetric",
        helper="accuracy_metrics",
        siblings=("AccuracyPerTaskPluginMetric",),
        scores=True,
        note="of samples or words",
    ),
    Part("evaluation.metrics.amca.AMCAPluginMetric", helper="amca_metrics", scores=True),
    Part(
        "evaluation.metrics.class_accuracy.ClassAccuracyPluginMetric",
        helper="class_accuracy_metrics",
        scores=True,
    ),
    Part(
        "evaluation.metrics.topk_acc.TopkAccuracyPluginMetric",
        helper="topk_acc_metrics",
        scores=True,
    ),
    Part(
        "evaluation.metrics.confusion_matrix.StreamConfusionMatrix",
        helper="confusion_matrix_metrics",
        scores=True,
        note="its figures stay open; `save_image=False` draws none",
    ),
    Part("evaluation.metrics.cumulative_accuracies.CumulativeAccuracyPluginMetric", scores=True),
    Part(
        "evaluation.metrics.cumulative_accuracies.CumulativeForgettingPluginMetric",
        scores=True,
        per_stream=True,
    ),
    Part(
        "evaluation.metrics.forgetting_bwt.ExperienceForgetting",
        helper="forgetting_metrics",
        siblings=("StreamForgetting",),
        scores=True,
        per_stream=True,
        note="of accuracy; streams are kept apart",
    ),
    Part(
        "evaluation.metrics.forgetting_bwt.ExperienceBWT",
        helper="bwt_metrics",
        siblings=("StreamBWT",),
        scores=True,
        per_stream=True,
        note="of accuracy; streams are kept apart",
    ),
    Part(
        "evaluation.metrics.labels_repartition.LabelsRepartitionPlugin",
        helper="labels_repartition_metrics",
        scores=True,
        note="its figures stay open; `image_creator=None` draws none",
    ),
    Part(
        "evaluation.metrics.loss.LossPluginMetric",
        helper="loss_metrics",
        siblings=("LossPerTaskPluginMetric",),
    ),
    Part("evaluation.metrics.timing.TimePluginMetric", helper="timing_metrics"),
    Part("evaluation.metrics.cpu_usage.CPUPluginMetric", helper="cpu_usage_metrics"),
    Part("evaluation.metrics.disk_usage.DiskPluginMetric", helper="disk_usage_metrics"),
    _refused(
        "evaluation.metrics.acc_matrix.AccuracyMatrixPluginMetric",
        "writes 0 for what was not evaluated, and mixes streams",
        "`ContinualMetrics().matrix`",
        helper="accuracy_matrix_metrics",
    ),
    _refused(
        "evaluation.metrics.forward_transfer.ExperienceForwardTransfer",
        "measures classes before their task, which here are masked until it comes",
        "`ContinualMetrics` (`BWT_Stream`, `U_Stream`)",
        "StreamForwardTransfer",
        helper="forward_transfer_metrics",
    ),
    _refused(
        "evaluation.metrics.mean_scores.MeanScoresPluginMetricABC",
        "averages the masked scores of classes to come with those of old ones",
        "`strategy.encode_samples(samples, read)`",
        helper="mean_scores_metrics",
    ),
    _refused(
        "evaluation.metrics.ram_usage.RAMPluginMetric",
        POLLS,
        "`resource.getrusage`, or the peak memory in the record of a run",
        helper="ram_usage_metrics",
    ),
    _refused(
        "evaluation.metrics.gpu_usage.GPUPluginMetric",
        f"{POLLS} or there is no GPU",
        "`torch.cuda.utilization` and `torch.cuda.max_memory_allocated`",
        helper="gpu_usage_metrics",
    ),
    _refused(
        "evaluation.metrics.mac.MACPluginMetric",
        PIXELS,
        "`torch.utils.flop_counter.FlopCounterMode`",
        helper="MAC_metrics",
    ),
    _refused(
        "evaluation.metrics.images_samples.ImagesSamplePlugin",
        PIXELS,
        "`sample.visual.image.read()`",
        helper="images_samples_metrics",
    ),
    _refused(
        "evaluation.metrics.checkpoint.WeightCheckpoint",
        "pickles the whole model, and a pickle runs code when it is loaded",
        "`torch.save(model.state_dict(), path)`",
    ),
    _refused(
        "evaluation.metrics.confusion_matrix.WandBStreamConfusionMatrix",
        "is for `WandBLogger`, see there",
        "`confusion_matrix_metrics(stream=True)`",
    ),
)

LOGGERS = (
    Part("logging.interactive_logging.InteractiveLogger"),
    Part("logging.text_logging.TextLogger"),
    Part("logging.tensorboard_logger.TensorboardLogger"),
    _refused(
        "logging.csv_logger.CSVLogger",
        "writes 0 for what was not measured, and nothing but accuracy, loss and forgetting",
        "`JsonLinesLogger`",
    ),
    _refused(
        "logging.wandb_logger.WandBLogger",
        "calls `wandb.util.generate_id` and `wandb.viz`, which newer wandb lacks",
        "`JsonLinesLogger`, or a `BaseLogger` whose `log_single_metric` calls `wandb.log`",
    ),
)

STRATEGIES = (
    Part("training.supervised.strategy_wrappers.Naive"),
    Part("training.supervised.cumulative.Cumulative"),
    Part("training.supervised.joint_training.JointTraining"),
    Part(
        "training.supervised.strategy_wrappers.FromScratchTraining",
        note="with an optimizer of one parameter group",
    ),
    Part("training.supervised.strategy_wrappers.Replay"),
    Part("training.supervised.strategy_wrappers.GDumb"),
    Part("training.supervised.strategy_wrappers.AGEM"),
    Part("training.supervised.strategy_wrappers.EWC"),
    Part("training.supervised.strategy_wrappers.MAS"),
    Part(
        "training.supervised.strategy_wrappers.LwF",
        works=("re",),
        reason=LWF_TAGS,
        instead="`TokenDistillationPlugin`",
    ),
    Part(
        "training.supervised.strategy_wrappers.SynapticIntelligence",
        gpu_only=True,
        reason=SI_CPU,
        instead="`EWC`",
    ),
    _refused("training.supervised.strategy_wrappers.BiC", "see `BiCPlugin`", "`Replay`"),
    _refused("training.supervised.strategy_wrappers.CWRStar", LAST_LAYER, "`Replay`"),
    _refused("training.supervised.strategy_wrappers.CoPE", LAST_LAYER, "`EMARPlugin`"),
    _refused("training.supervised.strategy_wrappers.GEM", PIXELS, "`AGEM`"),
    _refused("training.supervised.strategy_wrappers.GSS_greedy", PIXELS, "`Replay`"),
    _refused("training.supervised.mer.MER", PIXELS, "`Replay`"),
    _refused("training.supervised.supervised_contrastive_replay.SCR", PIXELS, "`EMARPlugin`"),
    _refused("training.supervised.strategy_wrappers.GenerativeReplay", GENERATOR, "`Replay`"),
    _refused("training.supervised.strategy_wrappers.AETraining", GENERATOR, "`Replay`"),
    _refused("training.supervised.strategy_wrappers.VAETraining", GENERATOR, "`Replay`"),
    _refused("training.supervised.strategy_wrappers.MIR", NO_COLLATE, "`Replay`"),
    _refused("training.supervised.er_ace.ER_ACE", NO_COLLATE, "`Replay`"),
    _refused("training.supervised.er_aml.ER_AML", NO_COLLATE, "`Replay`"),
    _refused("training.supervised.der.DER", NO_COLLATE, "`Replay`"),
    _refused("training.supervised.feature_replay.FeatureReplay", MODULE, "`Replay`"),
    _refused("training.supervised.icarl.ICaRL", MODULE, "`EMARPlugin` or `RPCREPlugin`"),
    _refused("training.supervised.strategy_wrappers.LFL", MODULE, "`AttentionDistillationPlugin`"),
    _refused("training.supervised.strategy_wrappers.PNNStrategy", MODULE, "`EWC`"),
    _refused("training.supervised.strategy_wrappers.PackNet", MODULE, "`EWC`"),
    _refused("training.supervised.ar1.AR1", MODULE, "`EWC`"),
    _refused("training.supervised.expert_gate.ExpertGateStrategy", MODULE, "`Replay`"),
    _refused("training.supervised.l2p.LearningToPrompt", MODULE, "`Replay`"),
    _refused("training.supervised.deep_slda.StreamingLDA", MODULE, "`EMARPlugin`"),
)

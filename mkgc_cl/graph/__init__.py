"""A knowledge graph that grows: which source says it, which task taught it, what a model forgot."""

from mkgc_cl.graph.difference import GraphDiff, diff
from mkgc_cl.graph.items import Edge, Node
from mkgc_cl.graph.merging import by_name, by_name_and_type
from mkgc_cl.graph.store import KnowledgeGraph

__all__ = ["Edge", "GraphDiff", "KnowledgeGraph", "Node", "by_name", "by_name_and_type", "diff"]

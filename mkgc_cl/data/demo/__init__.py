"""The embedded synthetic stream: invented samples with drawn images, made from a seed.

Nothing is downloaded and nothing in it is real; it shows the toolkit at work and measures nothing
else. Words alone and images alone each leave a gap that both together close: a linear reader gets
these shares of the test mentions (tagging) or pairs (relations) right
(``python -m mkgc_cl.data.demo --seeds 0 1 --test-size 400``; also ``probe.MEASURED``).

=========  =====  =======  =====
version    words  image  both
=========  =====  =======  =====
tagging    0.715  0.756    0.820
relations  0.709  0.833    0.869
=========  =====  =======  =====
"""

from mkgc_cl.data.demo.images import DrawnImage
from mkgc_cl.data.demo.samples import DemoShares
from mkgc_cl.data.demo.stream import NER_ORDER, NOTICE, RE_ORDER, demo_stream

__all__ = ["NER_ORDER", "NOTICE", "RE_ORDER", "DemoShares", "DrawnImage", "demo_stream"]

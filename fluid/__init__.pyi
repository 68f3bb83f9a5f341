from fluid.base.errors import FluidError as FluidError
from fluid.base.run import Run as Run
from fluid.central.distill import EarlierRounds as EarlierRounds
from fluid.central.distill import distill as distill
from fluid.estimator import Model as Model
from fluid.estimator import load as load
from fluid.exchange.federation import Federation as Federation
from fluid.exchange.public_set import PublicSet as PublicSet
from fluid.partner.annotate import annotate as annotate
from fluid.partner.hybrid.train import RoundFiles as RoundFiles
from fluid.partner.hybrid.train import train_hybrid as train_hybrid
from fluid.partner.release.approve import approve as approve
from fluid.partner.teacher.train import train_teacher as train_teacher
from fluid.public.prepare import prepare_public as prepare_public
from fluid.report.evaluate import evaluate as evaluate
from fluid.simulation.run import simulate as simulate

__version__: str
__all__: list[str]

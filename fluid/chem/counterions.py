"""Known counter-ions and solvents: what may be taken off a record without being its compound.

The list is our own. Its members are those that occur as salts of drugs: WHO, *International
Nonproprietary Names (INN) for pharmaceutical substances: names for radicals, groups and others*
(the modified names such as besilate or pamoate); Stahl and Wermuth, *Handbook of Pharmaceutical
Salts*, 2nd ed. 2011 (ISBN 978-3-906390-51-2); the salts and solvents of the ChEMBL structure
pipeline (Bento et al. 2020, doi 10.1186/s13321-020-00456-1); those of RDKit's `FragmentRemover`.
"""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

# Metals that form salts. Others form complexes, and a ligand by itself is not the compound.
SALT_METALS = frozenset(
    {3, 4, 11, 12, 13, 19, 20, 30, 37, 38, 47, 55, 56, 87, 88}  # Li Be Na ... Zn ... Ag ... Ra
)
# Halogens, noble gases and hydrogen: any of them as a single atom.
_SINGLE = frozenset({1, 2, 7, 8, 9, 10, 16, 17, 18, 35, 36, 53, 54})

# Neutral liquids that stay in crystals.
_SOLVENTS = """
methanol CO
ethanol CCO
1-propanol CCCO
2-propanol CC(C)O
1-butanol CCCCO
2-butanol CCC(C)O
isobutanol CC(C)CO
tert-butanol CC(C)(C)O
isoamyl-alcohol CC(C)CCO
benzyl-alcohol OCc1ccccc1
trifluoroethanol OCC(F)(F)F
ethylene-glycol OCCO
propylene-glycol CC(O)CO
glycerol OCC(O)CO
2-methoxyethanol COCCO
2-ethoxyethanol CCOCCO
acetone CC(C)=O
butanone CCC(C)=O
methyl-isobutyl-ketone CC(C)CC(C)=O
cyclohexanone O=C1CCCCC1
methyl-acetate COC(C)=O
ethyl-acetate CCOC(C)=O
propyl-acetate CCCOC(C)=O
isopropyl-acetate CC(=O)OC(C)C
butyl-acetate CCCCOC(C)=O
ethyl-formate CCOC=O
ethyl-butyrate CCCC(=O)OCC
butyraldehyde CCCC=O
dimethyl-carbonate COC(=O)OC
diethyl-ether CCOCC
diisopropyl-ether CC(C)OC(C)C
methyl-tert-butyl-ether COC(C)(C)C
dimethoxyethane COCCOC
tetrahydrofuran C1CCOC1
2-methyltetrahydrofuran CC1CCCO1
1,4-dioxane C1COCCO1
acetonitrile CC#N
propionitrile CCC#N
nitromethane C[N+](=O)[O-]
dimethylformamide CN(C)C=O
dimethylacetamide CN(C)C(C)=O
formamide NC=O
N-methylpyrrolidone CN1CCCC1=O
dimethyl-sulfoxide CS(C)=O
sulfolane O=S1(=O)CCCC1
hexamethylphosphoramide CN(C)P(=O)(N(C)C)N(C)C
dichloromethane ClCCl
chloroform ClC(Cl)Cl
carbon-tetrachloride ClC(Cl)(Cl)Cl
1,2-dichloroethane ClCCCl
chlorobenzene Clc1ccccc1
methyl-iodide CI
pentane CCCCC
hexane CCCCCC
heptane CCCCCCC
cyclohexane C1CCCCC1
methylcyclohexane CC1CCCCC1
benzene c1ccccc1
toluene Cc1ccccc1
o-xylene Cc1ccccc1C
m-xylene Cc1cccc(C)c1
p-xylene Cc1ccc(C)cc1
anisole COc1ccccc1
nitrobenzene O=[N+]([O-])c1ccccc1
pyridine c1ccncc1
carbon-disulfide S=C=S
urea NC(N)=O
"""
# Acids and bases; "acid" or "-ate" may be missing from a name.
_IONS = """
formate OC=O
acetate CC(=O)O
trifluoroacetate OC(=O)C(F)(F)F
chloroacetate OC(=O)CCl
dichloroacetate OC(=O)C(Cl)Cl
trichloroacetate OC(=O)C(Cl)(Cl)Cl
propionate CCC(=O)O
butyrate CCCC(=O)O
isobutyrate CC(C)C(=O)O
valerate CCCCC(=O)O
isovalerate CC(C)CC(=O)O
pivalate CC(C)(C)C(=O)O
tebutate CC(C)(C)CC(=O)O
caproate CCCCCC(=O)O
enantate CCCCCCC(=O)O
caprylate CCCCCCCC(=O)O
2-ethylhexanoate CCCCC(CC)C(=O)O
pelargonate CCCCCCCCC(=O)O
caprate CCCCCCCCCC(=O)O
undecylate CCCCCCCCCCC(=O)O
undecylenate C=CCCCCCCCCC(=O)O
laurate CCCCCCCCCCCC(=O)O
myristate CCCCCCCCCCCCCC(=O)O
palmitate CCCCCCCCCCCCCCCC(=O)O
stearate CCCCCCCCCCCCCCCCCC(=O)O
oleate CCCCCCCCC=CCCCCCCCC(=O)O
linoleate CCCCCC=CCC=CCCCCCCCC(=O)O
ricinoleate CCCCCCC(O)CC=CCCCCCCCC(=O)O
behenate CCCCCCCCCCCCCCCCCCCCCC(=O)O
cipionate OC(=O)CCC1CCCC1
buciclate CCCCC1CCC(CC1)C(=O)O
ciclotate CC12CCC(CC1)(C=C2)C(=O)O
cyclohexanecarboxylate OC(=O)C1CCCCC1
acrylate C=CC(=O)O
sorbate CC=CC=CC(=O)O
oxalate OC(=O)C(=O)O
malonate OC(=O)CC(=O)O
succinate OC(=O)CCC(=O)O
glutarate OC(=O)CCCC(=O)O
adipate OC(=O)CCCCC(=O)O
pimelate OC(=O)CCCCCC(=O)O
suberate OC(=O)CCCCCCC(=O)O
azelate OC(=O)CCCCCCCC(=O)O
sebacate OC(=O)CCCCCCCCC(=O)O
maleate-fumarate OC(=O)C=CC(=O)O
itaconate C=C(CC(=O)O)C(=O)O
citraconate-mesaconate CC(=CC(=O)O)C(=O)O
camphorate CC1(C)C(CCC1(C)C(=O)O)C(=O)O
glycolate OCC(=O)O
lactate CC(O)C(=O)O
3-hydroxybutyrate CC(O)CC(=O)O
glycerate OCC(O)C(=O)O
malate OC(CC(=O)O)C(=O)O
tartrate OC(C(O)C(=O)O)C(=O)O
dibenzoyltartrate OC(=O)C(OC(=O)c1ccccc1)C(OC(=O)c1ccccc1)C(=O)O
ditoluoyltartrate Cc1ccc(cc1)C(=O)OC(C(=O)O)C(OC(=O)c1ccc(C)cc1)C(=O)O
citrate OC(=O)CC(O)(CC(=O)O)C(=O)O
isocitrate OC(=O)CC(C(O)C(=O)O)C(=O)O
aconitate OC(=O)CC(=CC(=O)O)C(=O)O
tricarballylate OC(=O)CC(CC(=O)O)C(=O)O
quinate OC1CC(O)(CC(O)C1O)C(=O)O
shikimate OC1CC(=CC(O)C1O)C(=O)O
gluconate OCC(O)C(O)C(O)C(O)C(=O)O
gluceptate OCC(O)C(O)C(O)C(O)C(O)C(=O)O
mucate OC(C(O)C(O)C(=O)O)C(O)C(=O)O
glucuronate OC1OC(C(O)C(O)C1O)C(=O)O
open-glucuronate O=CC(O)C(O)C(O)C(O)C(=O)O
lactobionate OCC(O)C(OC1OC(CO)C(O)C(O)C1O)C(O)C(O)C(=O)O
threonate OCC(O)C(O)C(=O)O
ascorbate OCC(O)C1OC(=O)C(O)=C1O
isomeric-ascorbate OCC(O)C1OC(=O)C(=O)C1O
2-ketogluconate OCC(O)C(O)C(O)C(=O)C(=O)O
pyruvate CC(=O)C(=O)O
levulinate CC(=O)CCC(=O)O
oxoglurate OC(=O)CCC(=O)C(=O)O
oxaloacetate OC(=O)CC(=O)C(=O)O
acetoacetate CC(=O)CC(=O)O
benzoate OC(=O)c1ccccc1
toluate Cc1ccc(cc1)C(=O)O
anisate COc1ccc(cc1)C(=O)O
4-chlorobenzoate OC(=O)c1ccc(Cl)cc1
4-nitrobenzoate OC(=O)c1ccc(cc1)[N+](=O)[O-]
3,5-dinitrobenzoate OC(=O)c1cc(cc(c1)[N+](=O)[O-])[N+](=O)[O-]
4-aminobenzoate Nc1ccc(cc1)C(=O)O
4-aminosalicylate Nc1ccc(C(=O)O)c(O)c1
acedobenate CC(=O)Nc1ccc(cc1)C(=O)O
salicylate OC(=O)c1ccccc1O
4-hydroxybenzoate OC(=O)c1ccc(O)cc1
gentisate OC(=O)c1cc(O)ccc1O
resorcylate OC(=O)c1ccc(O)cc1O
protocatechuate OC(=O)c1ccc(O)c(O)c1
gallate OC(=O)c1cc(O)c(O)c(O)c1
vanillate COc1cc(ccc1O)C(=O)O
phthalate OC(=O)c1ccccc1C(=O)O
isophthalate OC(=O)c1cccc(c1)C(=O)O
terephthalate OC(=O)c1ccc(cc1)C(=O)O
trimesate OC(=O)c1cc(cc(c1)C(=O)O)C(=O)O
hibenzate OC(=O)c1ccccc1C(=O)c1ccc(O)cc1
phenylacetate OC(=O)Cc1ccccc1
fenpropionate OC(=O)CCc1ccccc1
mandelate OC(C(=O)O)c1ccccc1
tropate OCC(C(=O)O)c1ccccc1
cinnamate OC(=O)C=Cc1ccccc1
coumarate OC(=O)C=Cc1ccc(O)cc1
caffeate OC(=O)C=Cc1ccc(O)c(O)c1
ferulate COc1cc(C=CC(=O)O)ccc1O
diphenylacetate OC(=O)C(c1ccccc1)c1ccccc1
trifenatate OC(=O)C(c1ccccc1)(c1ccccc1)c1ccccc1
hippurate OC(=O)CNC(=O)c1ccccc1
furoate OC(=O)c1ccco1
nicotinate OC(=O)c1cccnc1
isonicotinate OC(=O)c1ccncc1
picolinate OC(=O)c1ccccn1
nicotinamide NC(=O)c1cccnc1
orotate OC(=O)c1cc(=O)[nH]c(=O)[nH]1
1-naphthoate OC(=O)c1cccc2ccccc12
2-naphthoate OC(=O)c1ccc2ccccc2c1
xinafoate OC(=O)c1ccc2ccccc2c1O
3-hydroxy-2-naphthoate OC(=O)c1cc2ccccc2cc1O
pamoate OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(=O)O)c1O
fendizoate OC(=O)c1ccccc1C(=O)c1ccc(O)c(c1)-c1ccccc1
mesylate CS(=O)(=O)O
esylate CCS(=O)(=O)O
propanesulfonate CCCS(=O)(=O)O
triflate OS(=O)(=O)C(F)(F)F
nonaflate OS(=O)(=O)C(F)(F)C(F)(F)C(F)(F)C(F)(F)F
edisylate OS(=O)(=O)CCS(=O)(=O)O
isethionate OCCS(=O)(=O)O
taurine NCCS(=O)(=O)O
sulfoacetate OC(=O)CS(=O)(=O)O
besylate OS(=O)(=O)c1ccccc1
benzenesulfinate OS(=O)c1ccccc1
tosylate Cc1ccc(cc1)S(=O)(=O)O
closylate OS(=O)(=O)c1ccc(Cl)cc1
4-hydroxybenzenesulfonate OS(=O)(=O)c1ccc(O)cc1
sulfanilate Nc1ccc(cc1)S(=O)(=O)O
mesitylenesulfonate Cc1cc(C)c(c(C)c1)S(=O)(=O)O
metazoate OC(=O)c1cccc(c1)S(=O)(=O)O
sulfosalicylate OC(=O)c1cc(ccc1O)S(=O)(=O)O
3-sulfosalicylate OC(=O)c1cccc(c1O)S(=O)(=O)O
dobesilate OS(=O)(=O)c1cc(O)ccc1O
1-napsylate OS(=O)(=O)c1cccc2ccccc12
napsylate OS(=O)(=O)c1ccc2ccccc2c1
napadisylate OS(=O)(=O)c1cccc2c1cccc2S(=O)(=O)O
camsylate CC1(C)C2CCC1(CS(=O)(=O)O)C(=O)C2
3-bromocamsylate CC1(C)C2CCC1(CS(=O)(=O)O)C(=O)C2Br
dodecylbenzenesulfonate CCCCCCCCCCCCc1ccc(cc1)S(=O)(=O)O
docusate CCCCC(CC)COC(=O)CC(C(=O)OCC(CC)CCCC)S(=O)(=O)O
methosulfate COS(=O)(=O)O
ethylsulfate CCOS(=O)(=O)O
decylsulfate CCCCCCCCCCOS(=O)(=O)O
laurilsulfate CCCCCCCCCCCCOS(=O)(=O)O
acetylsulfate CC(=O)OS(=O)(=O)O
cyclamate OS(=O)(=O)NC1CCCCC1
saccharinate O=C1NS(=O)(=O)c2ccccc12
acesulfame CC1=CC(=O)NS(=O)(=O)O1
bistriflimide O=S(=O)(NS(=O)(=O)C(F)(F)F)C(F)(F)F
teoclate Cn1c(=O)c2[nH]c(Cl)nc2n(C)c1=O
picrate Oc1c(cc(cc1[N+](=O)[O-])[N+](=O)[O-])[N+](=O)[O-]
picrolonate Cc1nn(-c2ccc(cc2)[N+](=O)[O-])c(O)c1[N+](=O)[O-]
styphnate Oc1ccc(c(O)c1[N+](=O)[O-])[N+](=O)[O-]
triclofenate Oc1cc(Cl)c(Cl)cc1Cl
glycerophosphate OCC(O)COP(=O)(O)O
2-glycerophosphate OCC(CO)OP(=O)(O)O
glucose-1-phosphate OCC1OC(OP(=O)(O)O)C(O)C(O)C1O
fostedate CCCCCCCCCCCCCCOP(=O)(O)O
phosphanilate Nc1ccc(cc1)P(=O)(O)O
etidronate CC(O)(P(=O)(O)O)P(=O)(O)O
phytate OP(=O)(O)OC1C(OP(=O)(O)O)C(OP(=O)(O)O)C(OP(=O)(O)O)C(OP(=O)(O)O)C1OP(=O)(O)O
etabonate CCOC(=O)O
tetraphenylborate c1ccc(cc1)[B-](c1ccccc1)(c1ccccc1)c1ccccc1
edetate OC(=O)CN(CCN(CC(=O)O)CC(=O)O)CC(=O)O
nitrilotriacetate OC(=O)CN(CC(=O)O)CC(=O)O
pentetate OC(=O)CN(CCN(CC(=O)O)CC(=O)O)CCN(CC(=O)O)CC(=O)O
aceturate CC(=O)NCC(=O)O
acexamate CC(=O)NCCCCCC(=O)O
aceglumate CC(=O)NC(CCC(=O)O)C(=O)O
pyroglutamate OC(=O)C1CCC(=O)N1
glycine NCC(=O)O
alanine CC(N)C(=O)O
beta-alanine NCCC(=O)O
betaine C[N+](C)(C)CC(=O)[O-]
proline OC(=O)C1CCCN1
aspartate NC(CC(=O)O)C(=O)O
asparagine NC(CC(N)=O)C(=O)O
glutamate NC(CCC(=O)O)C(=O)O
glutamine NC(CCC(N)=O)C(=O)O
lysine NCCCCC(N)C(=O)O
ornithine NCCCC(N)C(=O)O
arginine N=C(N)NCCCC(N)C(=O)O
histidine NC(Cc1cnc[nH]1)C(=O)O
daproate CN(C)CCC(=O)O
methylamine CN
dimethylamine CNC
trimethylamine CN(C)C
ethylamine CCN
diethylamine CCNCC
triethylamine CCN(CC)CC
propylamine CCCN
dipropylamine CCCNCCC
tripropylamine CCCN(CCC)CCC
isopropylamine CC(C)N
diisopropylamine CC(C)NC(C)C
diisopropylethylamine CCN(C(C)C)C(C)C
butylamine CCCCN
dibutylamine CCCCNCCCC
tributylamine CCCCN(CCCC)CCCC
isobutylamine CC(C)CN
sec-butylamine CCC(C)N
erbumine CC(C)(C)N
dodecylamine CCCCCCCCCCCCN
octadecylamine CCCCCCCCCCCCCCCCCCN
cyclohexylamine NC1CCCCC1
dicyclohexylamine C1CCC(CC1)NC1CCCCC1
benzylamine NCc1ccccc1
dibenzylamine C(NCc1ccccc1)c1ccccc1
alpha-methylbenzylamine CC(N)c1ccccc1
benethamine C(Cc1ccccc1)NCc1ccccc1
benzathine C(CNCc1ccccc1)NCc1ccccc1
hydrabamine CC(C)c1ccc2c(c1)CCC1C2(C)CCCC1(C)CNCCNCC1(C)CCCC2(C)c3ccc(cc3CCC12)C(C)C
aniline Nc1ccccc1
edamine NCCN
propylenediamine NCCCN
putrescine NCCCCN
hexamethylenediamine NCCCCCCN
diethylenetriamine NCCNCCN
spermine NCCCNCCCCNCCCN
olamine NCCO
diolamine OCCNCCO
trolamine OCCN(CCO)CCO
deanol CN(C)CCO
N-methylethanolamine CNCCO
N-methyldiethanolamine CN(CCO)CCO
diethylaminoethanol CCN(CC)CCO
2-amino-2-methylpropanol CC(C)(N)CO
aminopropanol CC(O)CN
tromethamine NC(CO)(CO)CO
meglumine CNCC(O)C(O)C(O)C(O)CO
eglumine CCNCC(O)C(O)C(O)C(O)CO
glucamine NCC(O)C(O)C(O)C(O)CO
glucosamine NC1C(O)OC(CO)C(O)C1O
epolamine OCCN1CCCC1
hydroxyethylmorpholine OCCN1CCOCC1
pyrrolidine C1CCNC1
morpholine C1COCCN1
N-methylmorpholine CN1CCOCC1
piperazine C1CNCCN1
N-methylpiperazine CN1CCNCC1
N-methylpiperidine CN1CCCCC1
DABCO C1CN2CCN1CC2
DBU C1CCC2=NCCCN2CC1
DBN C1CC2=NCCCN2C1
guanidine N=C(N)N
aminoguanidine N=C(N)NN
1-methylimidazole Cn1ccnc1
imidazole c1c[nH]cn1
4-dimethylaminopyridine CN(C)c1ccncc1
lutidine Cc1cccc(C)n1
2-picoline Cc1ccccn1
procaine CCN(CC)CCOC(=O)c1ccc(N)cc1
choline C[N+](C)(C)CCO
carnitine C[N+](C)(C)CC(O)CC(=O)[O-]
tetramethylammonium C[N+](C)(C)C
tetraethylammonium CC[N+](CC)(CC)CC
tetrabutylammonium CCCC[N+](CCCC)(CCCC)CCCC
benzyltrimethylammonium C[N+](C)(C)Cc1ccccc1
cetrimonium CCCCCCCCCCCCCCCC[N+](C)(C)C
tetraphenylphosphonium c1ccc(cc1)[P+](c1ccccc1)(c1ccccc1)c1ccccc1
1-ethyl-3-methylimidazolium CC[n+]1ccn(C)c1
1-butyl-3-methylimidazolium CCCC[n+]1ccn(C)c1
18-crown-6 C1COCCOCCOCCOCCOCCO1
15-crown-5 C1COCCOCCOCCOCCO1
12-crown-4 C1COCCOCCOCCO1
"""
# Ions, acids and small molecules of inorganic chemistry; the elements of single atoms are above.
_INORGANIC = """
water O
peroxide OO
ammonia N
nitrogen N#N
hydrogen [H][H]
oxygen O=O
chlorine ClCl
bromine BrBr
iodine II
triiodide I[I-]I
dichloroiodate Cl[I-]Cl
azide [N-]=[N+]=N
nitrate O[N+](=O)[O-]
nitrite ON=O
sulfate OS(=O)(=O)O
sulfite OS(=O)O
sulfur-dioxide O=S=O
sulfur-trioxide O=S(=O)=O
thiosulfate OS(=O)(=O)S
other-thiosulfate OS(O)(=O)=S
dithionite OS(=O)S(=O)O
disulfite OS(=O)S(=O)(=O)O
pyrosulfate OS(=O)(=O)OS(=O)(=O)O
peroxodisulfate OS(=O)(=O)OOS(=O)(=O)O
sulfamate NS(=O)(=O)O
fluorosulfate OS(=O)(=O)F
chlorosulfate OS(=O)(=O)Cl
phosphate OP(=O)(O)O
phosphite OP(O)O
phosphonate O[PH](=O)O
hypophosphite O[PH2]=O
other-hypophosphite OP=O
metaphosphate OP(=O)=O
pyrophosphate OP(=O)(O)OP(=O)(O)O
triphosphate OP(=O)(O)OP(=O)(O)OP(=O)(O)O
monofluorophosphate OP(=O)(O)F
difluorophosphate OP(=O)(F)F
hexafluorophosphate F[P-](F)(F)(F)(F)F
perchlorate OCl(=O)(=O)=O
chlorate OCl(=O)=O
chlorite OCl=O
hypochlorite OCl
bromate OBr(=O)=O
iodate OI(=O)=O
periodate OI(=O)(=O)=O
borate OB(O)O
metaborate OB=O
tetrahydroxyborate O[B-](O)(O)O
boron-trifluoride FB(F)F
tetrafluoroborate F[B-](F)(F)F
tetrachloroborate Cl[B-](Cl)(Cl)Cl
borohydride [BH4-]
silicate O[Si](O)(O)O
metasilicate O[Si](O)=O
silica O=[Si]=O
hexafluorosilicate F[Si-2](F)(F)(F)(F)F
hexafluoroarsenate F[As-](F)(F)(F)(F)F
hexafluoroantimonate F[Sb-](F)(F)(F)(F)F
tetrachloroaluminate Cl[Al-](Cl)(Cl)Cl
hydrogen-sulfide S
carbonate OC(=O)O
thiocyanate SC#N
isothiocyanate N=C=S
cyanate OC#N
isocyanate N=C=O
cyanide C#N
carbon-dioxide O=C=O
"""


@lru_cache(maxsize=1)
def _tools() -> tuple[rdMolStandardize.Normalizer, rdMolStandardize.Uncharger]:
    # By force, so that betaine is the same with and without its proton.
    return rdMolStandardize.Normalizer(), rdMolStandardize.Uncharger(force=True)


def bare_smiles(component: Chem.Mol, *, stereo: bool = False, isotopes: bool = False) -> str:
    """Canonical SMILES of one component without its charge; acid and salt are then the same.

    Parameters
    ----------
    component
        One component of a record.
    stereo, isotopes
        Whether to keep stereochemistry and isotopes; otherwise enantiomers, or a solvent and its
        deuterated form, are the same too.
    """
    bare = Chem.Mol(component)
    if not isotopes:
        for atom in bare.GetAtoms():
            atom.SetIsotope(0)
        bare = Chem.RemoveHs(bare)
    if not stereo:
        Chem.RemoveStereochemistry(bare)
    normalizer, uncharger = _tools()
    return Chem.MolToSmiles(uncharger.uncharge(normalizer.normalize(bare)))


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    """The group of each known component by its bare SMILES."""
    groups = {"solvent": _SOLVENTS, "ion": _IONS, "inorganic": _INORGANIC}
    return {
        bare_smiles(Chem.MolFromSmiles(line.split()[1])): group
        for group, lines in groups.items()
        for line in lines.strip().split("\n")
    }


def known_group(component: Chem.Mol) -> str | None:
    """What a component of a record is known as.

    Returns
    -------
    str or None
        ``"inorganic"``, ``"ion"`` or ``"solvent"``; None if it is not in the list.

    Examples
    --------
    >>> known_group(Chem.MolFromSmiles("OC(CC(O)=O)(CC([O-])=O)C(O)=O"))
    'ion'
    """
    # Deuterium chloride holds two atoms.
    heavy = [atom.GetAtomicNum() for atom in component.GetAtoms() if atom.GetAtomicNum() > 1]
    if component.GetNumAtoms() == 1 or len(heavy) == 1:
        number = heavy[0] if heavy else 1
        if number in SALT_METALS or number in _SINGLE:
            return "inorganic"
    return _known().get(bare_smiles(component))

"""Transforms that a medicinal chemist would make, and groups that no product may have."""

from __future__ import annotations

from collections.abc import Mapping

# Atoms mapped stay, with charge and hydrogens made anew; what has no number comes or goes. In
# products `[*:n]` keeps the element. One site at a time: a rule that fits twice gives two products.
TRANSFORMS: Mapping[str, str] = {
    # aromatic atoms
    "aryl CH to N": "[cH:1]>>[n:1]",
    "aryl N to CH": "[n;X2;H0:1]>>[c:1]",
    "aryl H to F": "[cH:1]>>[c:1]F",
    "aryl H to Cl": "[cH:1]>>[c:1]Cl",
    "aryl H to methyl": "[cH:1]>>[c:1]C",
    "aryl H to methoxy": "[cH:1]>>[c:1]OC",
    "aryl H to cyano": "[cH:1]>>[c:1]C#N",
    "aryl H to hydroxy": "[cH:1]>>[c:1]O",
    "aryl H to amino": "[cH:1]>>[c:1]N",
    "aryl H to CF3": "[cH:1]>>[c:1]C(F)(F)F",
    "thiophene to furan": "[s;r5:1]>>[o:1]",
    "furan to thiophene": "[o;r5:1]>>[s:1]",
    "azole NH to O": "[nH;r5:1]>>[o:1]",
    "azole NH to S": "[nH;r5:1]>>[s:1]",
    "azole O to NH": "[o;r5:1]>>[nH:1]",
    "azole NH to N-methyl": "[nH:1]>>[n:1]C",
    "azole N-methyl to NH": "[n:1]-[CH3]>>[nH:1]",
    "phenyl to thienyl": "[*:1]-!@[c]1[cH][cH][cH][cH][cH]1>>[*:1]-c1cccs1",
    "phenyl to cyclohexyl": "[*:1]-!@[c]1[cH][cH][cH][cH][cH]1>>[*:1]-C1CCCCC1",
    "cyclohexyl to phenyl": "[*:1]-!@[CH]1[CH2][CH2][CH2][CH2][CH2]1>>[*:1]-c1ccccc1",
    # halogens
    "F to Cl": "[#6;!$(*(F)F):1]-[F]>>[*:1]-Cl",
    "Cl to F": "[#6;!$(*(Cl)Cl):1]-[Cl]>>[*:1]-F",
    "Cl to Br": "[#6;!$(*(Cl)Cl):1]-[Cl]>>[*:1]-Br",
    "Br to Cl": "[#6:1]-[Br]>>[*:1]-Cl",
    "I to Br": "[#6:1]-[I]>>[*:1]-Br",
    "halogen to H": "[#6:1]-[F,Cl,Br,I]>>[*:1]",
    "aryl halogen to methyl": "[c:1]-[F,Cl,Br,I]>>[c:1]-C",
    "aryl halogen to cyano": "[c:1]-[F,Cl,Br,I]>>[c:1]-C#N",
    "aryl halogen to methoxy": "[c:1]-[F,Cl,Br,I]>>[c:1]-OC",
    "aryl halogen to CF3": "[c:1]-[F,Cl,Br,I]>>[c:1]-C(F)(F)F",
    # methyl and other small groups
    "methyl to H": "[#6,#16:1]-[CH3]>>[*:1]",
    "methyl to ethyl": "[*:1]-[CH3:2]>>[*:1]-[C:2]C",
    "methyl to CF3": "[#6:1]-[CH3:2]>>[*:1]-[C:2](F)(F)F",
    "methyl to cyclopropyl": "[#6,#7:1]-[CH3:2]>>[*:1]-[C:2]1CC1",
    "methyl to isopropyl": "[#6,#7,#8:1]-[CH3:2]>>[*:1]-[C:2](C)C",
    "aryl methyl to Cl": "[c:1]-[CH3]>>[c:1]-Cl",
    "methyl to hydroxymethyl": "[c:1]-[CH3:2]>>[c:1]-[C:2]O",
    "CF3 to methyl": "[#6:1]-[C:2](F)(F)F>>[*:1]-[*:2]",
    "tert-butyl to isopropyl": "[*:1]-[CX4:2]([CH3:3])([CH3:4])[CH3]>>[*:1]-[*:2]([*:3])[*:4]",
    "isopropyl to cyclopropyl": "[*:1]-[CH:2]([CH3:3])[CH3:4]>>[*:1]-[C:2]1[C:3][C:4]1",
    "cyano to CF3": "[#6:1]-[CX2:2]#[N]>>[*:1]-[C:2](F)(F)F",
    "cyano to carboxamide": "[#6:1]-[CX2:2]#[N:3]>>[*:1]-[C:2](=O)-[N:3]",
    "nitro to cyano": "[c:1]-[N+](=O)[O-]>>[c:1]-C#N",
    "nitro to amino": "[c:1]-[N+](=O)[O-]>>[c:1]-N",
    # hydroxy, amino, thio
    "hydroxy to methoxy": "[#6;!$(*=[O,S]):1]-[OX2H:2]>>[*:1]-[O:2]C",
    "methoxy to hydroxy": "[#6:1]-[OX2:2]-[CH3]>>[*:1]-[O:2]",
    "methoxy to OCF3": "[c:1]-[OX2:2]-[CH3:3]>>[c:1]-[O:2]-[C:3](F)(F)F",
    "hydroxy to H": "[#6;!$(*=O):1]-[OX2H]>>[*:1]",
    "hydroxy to F": "[#6;!$(*=O):1]-[OX2H]>>[*:1]-F",
    "hydroxy to amino": "[#6;!$(*=O):1]-[OX2H]>>[*:1]-N",
    "alcohol to ketone": "[#6:1]-[CH:2](-[#6:3])-[OX2H:4]>>[*:1]-[C:2](-[*:3])=[O:4]",
    "ketone to alcohol": "[#6:1]-[CX3:2](-[#6:3])=[O:4]>>[*:1]-[C:2](-[*:3])-[O:4]",
    "amino to hydroxy": "[c,CX4:1]-[NX3H2]>>[*:1]-O",
    "amino to methylamino": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]C",
    "amino to acetamide": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]C(C)=O",
    "amino to mesylamide": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]S(C)(=O)=O",
    "N-methyl to NH": "[NX3:1]-[CH3]>>[*:1]",
    "NH to N-methyl": "[#6:1]-[NX3H:2]-[#6:3]>>[*:1]-[N:2](C)-[*:3]",
    "dimethylamino to pyrrolidine": "[*:1]-[NX3:2]([CH3:3])[CH3:4]>>[*:1]-[N:2]1[C:3]CC[C:4]1",
    # acids and their kin
    "acid to methyl ester": "[#6:1]-[CX3:2](=[O:3])-[OX2H:4]>>[*:1]-[C:2](=[O:3])-[O:4]C",
    "acid to carboxamide": "[#6:1]-[CX3:2](=[O:3])-[OX2H]>>[*:1]-[C:2](=[O:3])-N",
    "acid to tetrazole": "[#6:1]-[CX3](=O)-[OX2H]>>[*:1]-c1nnn[nH]1",
    "acid to sulfonamide": "[c:1]-[CX3](=O)-[OX2H]>>[c:1]-S(=O)(=O)N",
    "acid to alcohol": "[#6:1]-[CX3:2](=O)-[OX2H:3]>>[*:1]-[C:2]-[O:3]",
    "ester to acid": "[CX3:1](=[O:2])-[OX2:3]-!@[CX4;H2,H3]>>[C:1](=[O:2])-[O:3]",
    "ester to amide": "[#6:1]-[CX3:2](=[O:3])-[OX2]-[#6:4]>>[*:1]-[C:2](=[O:3])-N-[*:4]",
    "amide to ester": "[#6:1]-[CX3:2](=[O:3])-[NX3H]-[#6:4]>>[*:1]-[C:2](=[O:3])-O-[*:4]",
    "amide reversed": "[#6:1]-[CX3:2](=[O:3])-!@[NX3H:4]-[#6:5]>>[*:1]-[N:4]-[C:2](=[O:3])-[*:5]",
    "amide to amine": "[#6:1]-[CX3:2](=O)-[NX3:3]>>[*:1]-[C:2]-[N:3]",
    "amide to sulfonamide": "[#6:1]-[CX3](=O)-!@[NX3:2]>>[*:1]-S(=O)(=O)-[N:2]",
    "sulfonamide to amide": "[#6:1]-[SX4](=O)(=O)-!@[NX3:2]>>[*:1]-C(=O)-[N:2]",
    "carboxamide to cyano": "[#6:1]-[CX3:2](=O)-[NX3H2:3]>>[*:1]-[C:2]#[N:3]",
    "urea O to S": "[NX3:1]-[CX3:2](=O)-[NX3:3]>>[*:1]-[C:2](=S)-[*:3]",
    "C=S to C=O": "[CX3:1]=[SX1]>>[C:1]=O",
    # chains
    "chain O to S": "[#6;!$(*=O):1]-!@[OX2:2]-!@[#6;!$(*=O):3]>>[*:1]-[S:2]-[*:3]",
    "chain S to O": "[#6:1]-!@[SX2:2]-!@[#6:3]>>[*:1]-[O:2]-[*:3]",
    "chain O to NH": "[#6;!$(*=O):1]-!@[OX2:2]-!@[#6;!$(*=O):3]>>[*:1]-[N:2]-[*:3]",
    "chain NH to O": "[#6;!$(*=O):1]-!@[NX3H:2]-!@[#6;!$(*=O):3]>>[*:1]-[O+0:2]-[*:3]",
    "chain O to CH2": "[#6:1]-!@[OX2:2]-!@[#6:3]>>[*:1]-[C:2]-[*:3]",
    "chain NH to CH2": "[#6:1]-!@[NX3H:2]-!@[#6:3]>>[*:1]-[C:2]-[*:3]",
    "chain CH2 to O": "[#6:1]-!@[CH2:2]-!@[#6:3]>>[*:1]-[O:2]-[*:3]",
    "chain CH2 to NH": "[#6:1]-!@[CH2:2]-!@[#6:3]>>[*:1]-[N:2]-[*:3]",
    "chain S to sulfone": "[#6:1]-[SX2:2]-[#6:3]>>[*:1]-[S:2](=O)(=O)-[*:3]",
    "CH2 out of chain": "[#6,#7:1]-!@[CH2]-!@[#6:3]>>[*:1]-[*:3]",
    "CH2 into chain": "[#6:1]-;!@[CX4,NX3,OX2;!H3:2]-[#6:3]>>[*:1]-C-[*:2]-[*:3]",
    "CH2 to CHMe": "[#6:1]-!@[CH2:2]-!@[*:3]>>[*:1]-[C:2](C)-[*:3]",
    "C=C to C-C": "[CX3:1]=[CX3:2]>>[C:1]-[C:2]",
    # saturated rings
    "N-ring 6 to 5": "[NX3:1]1-[C:2]-[*:3]-[*:4]-[CH2]-[C:5]-1>>[*:1]1-[*:2]-[*:3]-[*:4]-[*:5]-1",
    "N-ring 5 to 6": "[NX3:1]1-[C:2]-[C:3]-[C:4]-[C:5]-1>>[*:1]1-[*:2]-[*:3]-C-[*:4]-[*:5]-1",
    "N-ring 6 to 7": "[NX3:1]1-[C:2]-[*:3]-[*:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[*:4]-[*:5]-C-[*:6]-1",
    "piperidine to morpholine": "[NX3:1]1-[C:2]-[C:3]-[CH2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[O:4]-[*:5]-[*:6]-1",
    "piperidine to piperazine": "[NX3:1]1-[C:2]-[C:3]-[CX4;H1,H2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[N:4]-[*:5]-[*:6]-1",
    "piperazine to piperidine": "[NX3:1]1-[C:2]-[C:3]-[NX3:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[C:4]-[*:5]-[*:6]-1",
    "morpholine to piperidine": "[NX3:1]1-[C:2]-[C:3]-[OX2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[C:4]-[*:5]-[*:6]-1",
    "morpholine to thiomorpholine": "[NX3:1]1-[C:2]-[C:3]-[OX2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[S:4]-[*:5]-[*:6]-1",
}


# Groups that fall apart or react with water; a product may have one only if the compound has it.
UNLIKELY = (
    "[OX2,SX2]-[OX2]",
    "[F,Cl,Br,I]-[!#6]",
    "[#7;!a]-[#7;!a]-[#7;!a]",
    "[NX3;!a;!$(N-[C,S]=O)]-!@[NX3;!a;!$(N-[C,S]=O)]",
    "[NX3;!a;!$(N-C=O)]-[OX2,SX2]",
    "[CX4;!$(*(F)F)]([F,Cl,Br,I])[OX2,NX3,SX2]",
    "[CX4]([OX2H,SX2H,NX3H2])[OX2,SX2,NX3;!$(*-[C,S]=O)]",
    "[CX4;!R]([NX3;!$(*-[C,S]=O)])[OX2,NX3;!$(*-[C,S]=O)]",
    "[CX3;!$(C=O)]=[CX3]-[OX2H,NX3H2,SX2H]",
    "[CX3]=[CX2]=[CX3,NX2,O]",
    "[CX3;!$(C-[N,n,O])]=[NX2H]",
    "[CX4]([OX2;!$(O-C=O)])([OX2])[OX2,NX3]",
    "[CX3](=O)-[F,Cl,Br,I]",
    "[CX3](=O)-[CX3](=O)-[CX3]=O",
    "[r3,r4,r5,r6,r7]#*",
)

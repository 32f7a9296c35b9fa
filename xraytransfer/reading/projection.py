"""Which objects are frontal chest radiographs according to their header.

Headers contradict themselves, so each rule names the attribute that decides (docs/reading.md gives the reasons):

1. The SOP class decides where it names a kind of image. A film stored as Computed Radiography or Digital
   X-Ray stays a film whatever Modality says, unless that names another kind of projection (mammography,
   dental).
2. Secondary Capture holds anything: Modality decides. Where Modality says nothing, the body part or the view
   has to name a chest film.
3. A body part that is clearly not the chest, and a lateral or oblique view, are refused.

References
----------
PS3.4 B.5 (storage SOP classes), PS3.3 C.7.3.1.1.1 (Modality), C.8.11.7 (view position), PS3.16 annex L
(body parts), CID 4010 (views).
"""

from __future__ import annotations

import re
import unicodedata

from xraytransfer.errors import RadiographError
from xraytransfer.reading.attributes import KEYWORDS, PIXELS
from xraytransfer.reading.elements import Elements

__all__ = ["check_projection", "check_view"]

_RADIOGRAPHY = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray, for presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray, for processing",
}
_CAPTURES = {
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture",
    "": "no SOP class",
}
_OTHERS = {
    "1.2.840.10008.5.1.4.1.1.1.2": "Digital Mammography",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "Digital Mammography, for processing",
    "1.2.840.10008.5.1.4.1.1.1.3": "Digital Intra-Oral X-Ray",
    "1.2.840.10008.5.1.4.1.1.1.3.1": "Digital Intra-Oral X-Ray, for processing",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.3.1": "Ultrasound Multi-frame",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.12.1": "X-Ray Angiography",
    "1.2.840.10008.5.1.4.1.1.12.2": "X-Ray Radiofluoroscopy",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "Breast Tomosynthesis",
    "1.2.840.10008.5.1.4.1.1.20": "Nuclear Medicine",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.481.1": "RT Image",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF",
}
# DR, XR and X-RAY are no defined terms, but occur in files.
_FILM_MODALITIES = frozenset({"CR", "DX", "RG", "DR", "XR", "XRAY"})
_SILENT_MODALITIES = frozenset({"", "OT", "SC", "XC", "HC"})
_OTHER_PROJECTIONS = frozenset({"MG", "IO", "PX", "BMD", "XA", "RF"})

_CHEST = re.compile(r"CHEST|THORAX|LUNG|HEART|^RIB|TORAX|CHST|^CXR")
_NOT_CHEST = re.compile(
    r"SPINE|VERTEBRA|EXTREMITY|ABDOMEN|PELVIS|^HIP|SKULL|HEAD|^NECK|^FACE|FACIAL|ORBIT|SINUS|MANDIBLE|MAXILLA|^JAW"
    r"|TOOTH|TEETH|BREAST|SHOULDER|CLAVICLE|SCAPULA|STERNUM|HUMERUS|ELBOW|FOREARM|RADIUS|ULNA|^WRIST|^HAND|FINGER|THUMB"
    r"|FEMUR|THIGH|KNEE|PATELLA|TIBIA|FIBULA|^LEG|^ARM$|LOWERLEG|LOWERLIMB|UPPERLIMB|ANKLE|^FOOT|^FEET|^TOE|CALCANEUS|HEEL"
    r"|SACRUM|COCCYX|BLADDER|KIDNEY|COLON|STOMACH|UTERUS|^CSPINE|^LSPINE|^TSPINE"
)

# Defined terms of PS3.3 C.8.7.3.1.1 and C.8.11.5.1, and words of other languages and data sets for a side view.
_LATERAL = frozenset({"LL", "RL", "LAT", "LLAT", "RLAT", "LATL", "LATR", "LLATERAL", "RLATERAL", "ML", "LM", "LLD LAT"})
# Beside other letters these are the marker of a side.
_LATERAL_ALONE = frozenset({"L", "LA"})
_LATERAL_WORD = re.compile(
    r"^LATE?R"  # lateral, laterale, latéral (its accent may be lost), latero-lateral
    r"|^PROFIL|^PROFI$|^PERFIL|^PERF$"  # French and German, Italian, Spanish and Portuguese
    r"|^SEITL|^SEITENA|^SEITE$|^SEITENB"  # German
    r"|^ZIJ|^SIDE"  # Dutch, English
)
_OBLIQUE = frozenset({"RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE", "LORDOTIC", "AXIAL", "TANGENTIAL"})
_FRONTAL = {
    "PA": "PA", "POSTEROANTERIOR": "PA", "POSTERO-ANTERIOR": "PA", "AP": "AP", "ANTEROPOSTERIOR": "AP",
    "ANTERO-POSTERIOR": "AP",
}  # fmt: skip
# CID 4010: SNOMED CT and, in older files, SNOMED RT.
_VIEW_CODES = {
    "399348003": "AP", "272479007": "PA", "399067008": "LATERAL", "399173006": "LL", "399198007": "RL",
    "R-10206": "AP", "R-10214": "PA", "R-10228": "LATERAL", "R-10232": "RL", "R-10236": "LL",
}  # fmt: skip


def check_projection(header: Elements) -> list[str]:
    """Refuse what is no chest radiograph; return notes on what the header leaves open or contradicts.

    Raises
    ------
    RadiographError
        not-a-radiograph, with the attribute that says so; corrupt, where the header was cut off before it could say so.
    """
    sop_class = header.text("SOPClassUID") or header.text("MediaStorageSOPClassUID")
    modality = _code(header.text("Modality"))
    part = _body_part(header)
    notes = _check_class(sop_class, modality, header, part)
    if part and _NOT_CHEST.search(part) and not (_CHEST.search(part) and "SPINE" not in part):
        raise _refused(f"the body part is {part}, not the chest")
    return notes


def _check_class(sop_class: str, modality: str, header: Elements, part: str) -> list[str]:
    if sop_class in _RADIOGRAPHY:
        if modality in _OTHER_PROJECTIONS:
            raise _refused(f"Modality is {modality}")
        notes = []
        if modality not in _FILM_MODALITIES:
            notes.append(f"Modality is {modality or 'absent'} in a {_RADIOGRAPHY[sop_class]} object")
        if sop_class.endswith(".1.1.1.1.1") or header.text("PresentationIntentType").upper() == "FOR PROCESSING":
            notes.append("stored for processing: its grey levels are not meant to be looked at")
        return notes
    if sop_class not in _CAPTURES:
        if not header.text("SOPClassUID") and sop_class not in _OTHERS:
            raise _refused("the object has no SOP class, and no Modality of a radiograph")
        known = re.fullmatch(r"[0-9.]{1,64}", sop_class)
        raise _refused(f"the SOP class is {_OTHERS.get(sop_class, sop_class if known else 'unknown')}")
    if modality in _FILM_MODALITIES:
        return [] if sop_class else ["no SOP class: taken for a film because of its Modality"]
    if modality not in _SILENT_MODALITIES:
        raise _refused(
            f"Modality is {modality}, in a {_CAPTURES[sop_class]} object" if sop_class else f"Modality is {modality}"
        )
    if _CHEST.search(part) or _view(header.text("ViewPosition")) in ("PA", "AP"):
        return [f"Modality is {modality or 'absent'}: taken for a film because of its body part or view"]
    if not header.keys() & {KEYWORDS[tag] for tag in PIXELS}:
        raise RadiographError("corrupt", "the header ends before it tells what the picture shows; fetch the file again")
    raise _refused("neither SOP class, Modality, body part nor view says that it is a chest film")


def check_view(header: Elements) -> tuple[str | None, list[str]]:
    """Return the view position, and notes; refuse lateral and oblique views.

    Returns
    -------
    str or None
        ``PA`` or ``AP`` where the header says either in any of the usual ways; another term as it is
        written (a defined term of up to 16 letters); None if the header says nothing.

    Raises
    ------
    RadiographError
        not-frontal.
    """
    written = header.text("ViewPosition")
    view = _view(written)
    source = "ViewPosition"
    if view not in ("PA", "AP", "LATERAL", "OBLIQUE"):
        codes = (coded for item in header.sequence("ViewCodeSequence") if (coded := _coded_view(item)))
        coded_view = next(codes, None)
        if coded_view is not None:
            source, view = "the view code", coded_view
    if view in ("LATERAL", "OBLIQUE") or (view or "").split(" ")[0] in _LATERAL | _OBLIQUE:
        raise RadiographError("not-frontal", f"{source} says {_code(written) or view}; only frontal films are scored")
    directions = [_code(text) for text in header.texts("PatientOrientation")]
    notes = []
    if any(direction[:1] in ("A", "P") for direction in directions[:2]):
        if view not in ("PA", "AP"):
            raise RadiographError(
                "not-frontal", "the patient orientation is that of a lateral film; only frontal films are scored"
            )
        notes.append(f"the patient orientation is that of a lateral film, the view position is {view}")
    elif directions[:1] == ["R"] or directions[1:2] == ["H"]:
        notes.append("by its patient orientation the film is mirrored or upside down; it is scored as it is stored")
    return view, notes


def _refused(what: str) -> RadiographError:
    return RadiographError("not-a-radiograph", f"{what}; a chest radiograph was expected")


def _code(text: str, longest: int = 16) -> str:
    """Return a code string as it may be printed: at most 16 capitals, digits, spaces; else empty."""
    upper = text.upper().strip()
    return upper if re.fullmatch(r"[A-Z0-9 _/.-]+", upper) and len(upper) <= longest else ""


def _without_accents(text: str) -> str:
    """Return text in ASCII; letters that the file's character set hides are left out."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _body_part(header: Elements) -> str:
    part = _code(header.text("BodyPartExamined"))
    if not part:
        meanings = [item.text("CodeMeaning") for item in header.sequence("AnatomicRegionSequence")]
        part = next((_code(meaning[:16]) for meaning in meanings), "")
    return re.sub(r"[^A-Z]", "", part)


def _view(text: str) -> str | None:
    code = _code(_without_accents(text), longest=64)
    words = re.split(r"[ _/.-]+", code)
    if code not in _FRONTAL and any(word in _LATERAL or _LATERAL_WORD.search(word) for word in words):
        return "LATERAL"
    if code in _LATERAL_ALONE:
        return "LATERAL"
    if any(word in _OBLIQUE for word in words):
        return "OBLIQUE"
    for word in [code, *words]:
        if word in _FRONTAL:
            return _FRONTAL[word]
    return _code(code) or None


def _coded_view(item: Elements) -> str | None:
    code = _VIEW_CODES.get(item.text("CodeValue"))
    if code:
        return code
    meaning = _without_accents(item.text("CodeMeaning")).lower()
    if any(_LATERAL_WORD.search(word) for word in re.split(r"[ _/.-]+", meaning.upper())):
        return "LATERAL"
    for word, view in (("lateral", "LATERAL"), ("oblique", "OBLIQUE"), ("postero", "PA"), ("antero", "AP")):
        if word in meaning:
            return view
    return None

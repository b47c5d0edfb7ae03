"""XML of files that anybody may have written: without entities, by which a few lines become gigabytes."""

from __future__ import annotations

from xml.etree import ElementTree

__all__ = ["parse_xml"]


def parse_xml(text: bytes | str) -> ElementTree.Element:
    """The root of an XML text.

    Raises
    ------
    ValueError
        It is no XML, or declares a document type, which no scanner's header and no microscope's does.

    Examples
    --------
    >>> parse_xml("<!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>")
    Traceback (most recent call last):
    ValueError: it declares a document type, which is not read
    """
    if "<!DOCTYPE" in (text.decode("latin-1") if isinstance(text, bytes) else text):
        raise ValueError("it declares a document type, which is not read")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise ValueError(f"it is no XML ({error})") from error

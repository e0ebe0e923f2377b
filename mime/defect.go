package mime

import "fmt"

// A DefectCode names one kind of departure from the standards. The codes are
// stable: hosts may store and compare them.
type DefectCode string

// The defects that [Parse] reports.
const (
	// DefectHeaderLine: a line of the header is no field (RFC 5322 2.2).
	DefectHeaderLine DefectCode = "header-line"
	// DefectHeaderFold: the header starts with a continuation line.
	DefectHeaderFold DefectCode = "header-fold"
	// DefectMboxFrom: an mbox "From " line stood where only fields may stand.
	DefectMboxFrom DefectCode = "mbox-from-line"
	// DefectNoBlankLine: the header ended without the empty line (RFC 5322 2.1).
	DefectNoBlankLine DefectCode = "no-blank-line"
	// DefectNoHeader: there is no header field at all.
	DefectNoHeader DefectCode = "no-header"
	// DefectHeader8Bit: bytes above 127 that are not UTF-8 in a header.
	DefectHeader8Bit DefectCode = "header-8bit"
	// DefectHeaderControl: control characters in a header field (RFC 5322 2.2).
	DefectHeaderControl DefectCode = "header-control"
	// DefectDuplicateField: a field that may stand once stands twice; the first
	// rules (RFC 5322 3.6, RFC 2045 3).
	DefectDuplicateField DefectCode = "duplicate-field"
	// DefectContentType: the Content-Type can't be read (RFC 2045 5.1).
	DefectContentType DefectCode = "content-type"
	// DefectParameter: a parameter of a structured field is malformed.
	DefectParameter DefectCode = "parameter"
	// DefectEncoding: the transfer encoding is unknown (RFC 2045 6.1).
	DefectEncoding DefectCode = "transfer-encoding"
	// DefectEncodedContainer: a multipart carries base64 or quoted-printable,
	// which RFC 2045 6.4 forbids.
	DefectEncodedContainer DefectCode = "encoded-container"
	// DefectNoBoundary: a multipart without the boundary parameter (RFC 2046 5.1.1).
	DefectNoBoundary DefectCode = "no-boundary"
	// DefectNoStartBoundary: the boundary never occurs in the body.
	DefectNoStartBoundary DefectCode = "no-start-boundary"
	// DefectNoCloseBoundary: the closing boundary is missing (RFC 2046 5.1.1).
	DefectNoCloseBoundary DefectCode = "no-close-boundary"
	// DefectDuplicateBoundary: a multipart uses the boundary of one around it.
	DefectDuplicateBoundary DefectCode = "duplicate-boundary"
	// DefectRepeatedDelimiter: a delimiter follows another with nothing between.
	DefectRepeatedDelimiter DefectCode = "repeated-delimiter"
	// DefectBase64: bytes outside the alphabet, wrong padding or a torn end.
	DefectBase64 DefectCode = "base64"
	// DefectQuotedPrintable: a broken escape or a raw byte (RFC 2045 6.7).
	DefectQuotedPrintable DefectCode = "quoted-printable"
	// DefectUUEncode: a broken uuencoded line or a missing end.
	DefectUUEncode DefectCode = "uuencode"
	// DefectYEnc: a yEnc file whose size or checksum is not what it says.
	DefectYEnc DefectCode = "yenc"
	// DefectTNEF: TNEF data that is torn or has a wrong checksum (MS-OXTNEF).
	DefectTNEF DefectCode = "tnef"
	// DefectRTF: compressed RTF in TNEF that is torn (MS-OXRTFCP).
	DefectRTF DefectCode = "rtf"
	// DefectCharset: the declared charset is unknown.
	DefectCharset DefectCode = "charset"
	// DefectUndecodable: bytes that the charset does not have; they became U+FFFD.
	DefectUndecodable DefectCode = "undecodable"
	// DefectLineEnding: bare CR or a mix of line ends (RFC 5322 2.3).
	DefectLineEnding DefectCode = "line-ending"
	// DefectNUL: a NUL byte in the header (RFC 5322 2.2).
	DefectNUL DefectCode = "nul"
	// DefectMultipleFrom: several From fields, or several mailboxes in one
	// without a Sender (RFC 5322 3.6.2).
	DefectMultipleFrom DefectCode = "multiple-from"
	// DefectUnsafeName: the file name holds path separators, control or
	// direction-changing characters. See [SafeName].
	DefectUnsafeName DefectCode = "unsafe-name"
)

// A Defect is one departure from the standards that was met while reading.
// It stands next to the result and never replaces it.
type Defect struct {
	Code DefectCode
	// Path is the path of the part, as [Part.Path].
	Path string
	// Offset is where it was met, in bytes from the start of the stream given
	// to Parse; -1 if that can't be told (inside decoded content).
	Offset int64
	// Detail is for humans: short, quoted where it repeats the message.
	Detail string
}

// String gives the defect on one line.
func (d Defect) String() string {
	s := string(d.Code)
	if d.Path != "" {
		s += " in part " + d.Path
	}
	if d.Offset >= 0 {
		s += fmt.Sprintf(" at %d", d.Offset)
	}
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	return s
}

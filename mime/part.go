package mime

import (
	"io"
	"iter"
)

// A Part is one node of the tree that [Parse] builds: the message itself, a
// member of a multipart, or the message inside a message/rfc822 part. A Part
// holds what was said about the content, never the content, which goes to the
// [Sink] while it is read.
//
// A Part is complete once [Sink.End] was called for it, and is not changed
// afterwards; it may then be read by any number of goroutines.
type Part struct {
	// Path is the position in the tree as IMAP section numbers write it
	// (RFC 9051 6.4.5.1): "" for the root, "2", "2.1". The message inside a
	// message/rfc822 part "2" is its only child and has the path "2.0"; the
	// members of that message, if it is a multipart, are "2.1", "2.2". Virtual
	// parts are counted on in the same way below the part they were found in.
	Path   string
	Parent *Part

	Header Header

	// Type is the media type in lower case, "text/plain" when the field is
	// missing or can't be read (RFC 2045 5.2); Params are its parameters,
	// names in lower case, RFC 2231 and RFC 2047 forms decoded.
	Type   string
	Params map[string]string

	// Disposition is the Content-Disposition in lower case, "" when absent.
	// DispositionParams are its parameters, decoded like Params.
	Disposition       string
	DispositionParams map[string]string

	// Encoding is the transfer encoding used to decode the body, in lower
	// case, "" and unknown ones mean 7bit.
	Encoding string

	// Name is the file name offered by the sender, decoded, or "". It is data:
	// never use it as a path. See SafeName.
	Name string

	// Charset is the declared charset of a text part in lower case, "" if none.
	Charset string

	// ContentID is the Content-ID without angle brackets.
	ContentID string

	// Virtual marks a part that is none in MIME's eyes: a file found in text,
	// or what a TNEF part (winmail.dat) holds. See [WithExpansion]. It has no
	// Header and no offsets.
	Virtual bool

	// Children are the members of a multipart, the one message inside a
	// message/rfc822 part, or the virtual parts found in a leaf. A multipart in which no delimiter is found has one
	// text/plain child without a header, which is its whole body.
	Children []*Part

	// Offset is where the part's header starts in the stream given to Parse,
	// BodyOffset where its body starts, RawSize the length of the body as it
	// stands there. So the raw bytes of every part can be found again. Parts
	// inside an encoded message (base64 message/rfc822) and virtual ones have
	// Offset -1. See [Part.Raw].
	Offset, BodyOffset, RawSize int64

	// Size is the number of decoded bytes of a leaf.
	Size int64

	// Defects tells what was wrong with this part.
	Defects []Defect

	tnef bool // the body is TNEF and will be expanded
}

// IsMultipart reports whether the part's type is multipart/*.
func (p *Part) IsMultipart() bool { return len(p.Type) > 10 && p.Type[:10] == "multipart/" }

// IsMessage reports whether the part holds a whole message that Parse descends
// into: message/rfc822 and message/global (RFC 6532).
func (p *Part) IsMessage() bool { return p.Type == "message/rfc822" || p.Type == "message/global" }

// IsTNEF reports whether the part holds Microsoft's TNEF (winmail.dat) that
// Parse can expand, which it does with [WithExpansion] alone.
func (p *Part) IsTNEF() bool { return p.tnef }

// IsContainer reports whether Parse descends into the part if the sink's Begin
// returns no writer for it: a multipart, a message, or TNEF to be expanded.
func (p *Part) IsContainer() bool { return p.IsMultipart() || p.IsMessage() || p.tnef }

// Raw gives the part as it stands in the message, header and body, transfer
// encoding and line ends untouched: what a signature over it covers (RFC 1847
// 2.1, RFC 3156 5, RFC 8551 3.1.1). r must give the stream that Parse read.
// It is nil for a part that has no place of its own there: a virtual one, or
// one inside an encoded message.
func (p *Part) Raw(r io.ReaderAt) *io.SectionReader {
	if p.Offset < 0 {
		return nil
	}
	return io.NewSectionReader(r, p.Offset, p.BodyOffset-p.Offset+p.RawSize)
}

// RawBody is as [Part.Raw] without the header.
func (p *Part) RawBody(r io.ReaderAt) *io.SectionReader {
	if p.BodyOffset < 0 || p.Offset < 0 {
		return nil
	}
	return io.NewSectionReader(r, p.BodyOffset, p.RawSize)
}

// All yields the part and everything below it, parents first, in the order of
// the message.
func (p *Part) All() iter.Seq[*Part] {
	return func(yield func(*Part) bool) { p.walk(yield) }
}

func (p *Part) walk(yield func(*Part) bool) bool {
	if !yield(p) {
		return false
	}
	for _, c := range p.Children {
		if !c.walk(yield) {
			return false
		}
	}
	return true
}

// A Sink takes the content of a message while [Parse] reads it. Parse calls it
// from one goroutine, in the order of the message.
type Sink interface {
	// Begin is called once a part's header is known; everything in p but
	// Children, Size, RawSize and later Defects is set. The writer it returns
	// gets the decoded body; nil discards it. A container (see
	// [Part.IsContainer]) for which Begin returns nil is descended into; one for
	// which it returns a writer is written there whole, transfer decoding undone,
	// and not descended into.
	//
	// Virtual parts may begin and end between two writes for the part they are
	// in. TNEF tells the name of a file only after its content: Name, Type,
	// Params, Charset and ContentID of a virtual part hold at End.
	Begin(p *Part) (io.Writer, error)
	// End is called when the part is complete, after its children.
	End(p *Part) error
}

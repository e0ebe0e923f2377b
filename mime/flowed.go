package mime

import (
	"bytes"
	"io"
	"strings"
)

const (
	// flowedWidth is the column at which flowed text is broken (RFC 3676 4.2
	// recommends 72 and allows 78).
	flowedWidth = 72
	// maxFlowedLine bounds what is held of a line; the rest of a longer one is
	// passed on as it is.
	maxFlowedLine = 16 << 10
	signatureLine = "-- "
)

// A FlowedDecoder undoes format=flowed (RFC 3676): lines that were broken for
// transport are joined, the stuffed blanks go, quotes keep one "> " before each
// line as written by [QuoteText]. It takes UTF-8 and writes "\n" line ends.
// Close must be called. A FlowedDecoder is used by one goroutine; its memory is
// bounded.
type FlowedDecoder struct {
	w     io.Writer
	delSp bool
	hold  []byte
	long  bool // the start of this line was written already
	cr    bool // ... and a CR after it is held back

	open  bool // the last line flows into the next
	depth int  // the quote depth of it
	out   []byte
}

// NewFlowedDecoder makes a decoder. delSp is the parameter DelSp=yes: the blank
// at which a line was broken is no text.
func NewFlowedDecoder(w io.Writer, delSp bool) *FlowedDecoder {
	return &FlowedDecoder{w: w, delSp: delSp}
}

// flowed tells what a text part's Content-Type says about its format.
func flowed(p *Part) (is, delSp bool) {
	return strings.EqualFold(p.Params["format"], "flowed"), strings.EqualFold(p.Params["delsp"], "yes")
}

// IsFlowed reports whether a part is text/plain in format=flowed, and whether
// its blanks at line breaks are to be deleted (DelSp=yes). See
// [NewFlowedDecoder].
func (p *Part) IsFlowed() (is, delSp bool) {
	if p.Type != "text/plain" {
		return false, false
	}
	return flowed(p)
}

// Write takes the next bytes of text. Its error is the writer's.
func (d *FlowedDecoder) Write(p []byte) (int, error) {
	d.out = d.out[:0]
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		piece := rest
		if i >= 0 {
			piece, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		switch {
		case d.long:
			d.tail(piece, i >= 0)
		case i < 0 && len(d.hold)+len(piece) <= maxFlowedLine:
			d.hold = append(d.hold, piece...)
		default:
			line := piece
			if len(d.hold) > 0 {
				line = append(d.hold, piece...)
				d.hold = d.hold[:0]
			}
			d.long = i < 0
			d.line(line)
		}
	}
	return len(p), d.flush()
}

func (d *FlowedDecoder) flush() error {
	if len(d.out) == 0 {
		return nil
	}
	_, err := d.w.Write(d.out)
	return err
}

// tail passes on the rest of a line that was too long to be held. It is a
// fixed line, whatever it ends in.
func (d *FlowedDecoder) tail(piece []byte, end bool) {
	if d.cr && !(end && len(piece) == 0) {
		d.out = append(d.out, '\r')
	}
	d.cr = bytes.HasSuffix(piece, []byte("\r"))
	d.out = append(d.out, bytes.TrimSuffix(piece, []byte("\r"))...)
	if end {
		d.out = append(d.out, '\n')
		d.long, d.cr = false, false
	}
}

// line takes one line without its end (RFC 3676 4.1 to 4.5).
func (d *FlowedDecoder) line(line []byte) {
	if !d.long {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	depth := len(line) - len(bytes.TrimLeft(line, ">"))
	text := line[depth:]
	if len(text) > 0 && text[0] == ' ' { // stuffed
		text = text[1:]
	}
	sig := string(text) == signatureLine
	if d.open && (d.depth != depth || sig) {
		d.out = append(d.out, '\n')
		d.open = false
	}
	if !d.open {
		d.out = append(d.out, strings.Repeat(">", depth)...)
		if depth > 0 && len(text) > 0 {
			d.out = append(d.out, ' ')
		}
	}
	d.depth = depth
	if d.long {
		d.cr = bytes.HasSuffix(text, []byte("\r"))
		d.out = append(d.out, bytes.TrimSuffix(text, []byte("\r"))...)
		d.open = false
		return
	}
	d.open = len(text) > 0 && text[len(text)-1] == ' ' && !sig && len(line) <= maxFlowedLine
	if d.open && d.delSp {
		text = text[:len(text)-1]
	}
	d.out = append(d.out, text...)
	if !d.open {
		d.out = append(d.out, '\n')
	}
}

// Close writes what is held back. It does not close the writer.
func (d *FlowedDecoder) Close() error {
	d.out = d.out[:0]
	if len(d.hold) > 0 {
		d.line(d.hold)
		d.hold = nil
		if n := len(d.out); n > 0 && !d.open { // the text had no line end here
			d.out = d.out[:n-1]
		}
	} else if d.open {
		d.out = append(d.out, '\n')
	}
	if d.cr {
		d.out = append(d.out, '\r')
	}
	d.open, d.cr = false, false
	return d.flush()
}

// encodeFlowed writes text with "\n" line ends as format=flowed (RFC 3676 4.2):
// lines longer than flowedWidth are broken after a blank, a line that could be
// taken for something else is stuffed.
func encodeFlowed(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/32)
	for line := range strings.Lines(text) {
		line, nl := strings.CutSuffix(line, "\n")
		depth := len(line) - len(strings.TrimLeft(line, ">"))
		quote := line[:depth]
		rest := line[depth:]
		if depth > 0 {
			rest = strings.TrimPrefix(rest, " ")
		}
		if rest != signatureLine { // a blank at the end would join it to the next
			rest = strings.TrimRight(rest, " ")
		}
		for {
			cut := flowedCut(rest, flowedWidth-depth-1)
			b.WriteString(quote)
			piece := rest[:cut]
			if depth > 0 && piece != "" || strings.HasPrefix(piece, " ") || strings.HasPrefix(piece, ">") || strings.HasPrefix(piece, "From ") {
				b.WriteByte(' ')
			}
			b.WriteString(piece)
			if rest = rest[cut:]; rest == "" {
				break
			}
			b.WriteByte('\n')
		}
		if nl {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// flowedCut is where to break s: after a blank, within width where that can be.
func flowedCut(s string, width int) int {
	if len(s) <= width || s == signatureLine {
		return len(s)
	}
	i := strings.LastIndexByte(s[:max(width, 1)], ' ')
	if i <= 0 {
		if i = strings.IndexByte(s[1:], ' ') + 1; i == 0 {
			return len(s)
		}
	}
	// All blanks of a run stay on this line, so that none starts the next.
	for i+1 < len(s) && s[i+1] == ' ' {
		i++
	}
	if i+1 == len(s) {
		return len(s)
	}
	if s[:i+1] == signatureLine { // it would end the paragraph
		return i + 1 + flowedCut(s[i+1:], width-i-1)
	}
	return i + 1
}

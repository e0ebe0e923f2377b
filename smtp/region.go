package smtp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/maildriver/maildriver/mime"
)

// A region is a header or the body of a leaf, with what a plan must know of it.
type region struct {
	from, to int64
	part     *mime.Part
	body     bool

	high    int64 // octets beyond ASCII
	nul     bool
	bare    bool
	notUTF8 bool
	longest int

	text []byte // the beginning of the line at hand
	line int    // its length
	cr   bool   // the last octet was a CR
}

// regionsOf lists the headers and leaf bodies in the order of the message.
func regionsOf(root *mime.Part) []region {
	var list []region
	for p := range root.All() {
		if p.Offset < 0 { // inside an encoded message
			continue
		}
		list = append(list, region{from: p.Offset, to: p.BodyOffset, part: p})
		if len(p.Children) == 0 || p.Children[0].Offset < 0 {
			list = append(list, region{from: p.BodyOffset, to: p.BodyOffset + p.RawSize, part: p, body: true})
		}
	}
	slices.SortStableFunc(list, func(a, b region) int { return int(min(max(a.from-b.from, -1), 1)) })
	return list
}

func (r *region) unfit(allow8 bool, maxLine int) error {
	switch {
	case r.nul:
		return &ContentError{Problem: "a NUL octet, which may not be sent (RFC 5322 section 2.2)"}
	case r.bare:
		return &ContentError{Problem: "a bare CR or LF, which may not be sent (RFC 5321 section 2.3.8)"}
	case maxLine > 0 && r.longest > maxLine:
		return &ContentError{
			Problem: fmt.Sprintf("a line of %d octets, limit %d (RFC 5321 section 4.5.3.1.6)", r.longest, maxLine),
			Limit:   maxLine,
		}
	case r.high > 0 && !allow8:
		return &ExtensionError{"8BITMIME", "the message holds 8-bit octets and"}
	}
	return nil
}

// encoding picks quoted-printable for text that stays readable in it.
func (r *region) encoding() string {
	if strings.HasPrefix(r.part.Type, "text/") && !r.nul && !r.bare && r.high*3 <= r.to-r.from {
		return "quoted-printable"
	}
	return "base64"
}

// see notes what octets hold.
func (r *region) see(p []byte) {
	for len(p) > 0 {
		if r.cr && p[0] != '\n' {
			r.bare, r.cr = true, false
		}
		piece := p
		lf := bytes.IndexByte(p, '\n')
		if lf >= 0 {
			piece = p[:lf]
		}
		p = p[len(piece):]
		crs := bytes.Count(piece, []byte("\r"))
		if n := len(piece); n > 0 && piece[n-1] == '\r' {
			r.cr = true
			piece = piece[:n-1]
			crs--
		}
		r.bare = r.bare || crs > 0
		r.nul = r.nul || bytes.IndexByte(piece, 0) >= 0
		if hasEightBit(piece) {
			for _, b := range piece {
				if b >= 0x80 {
					r.high++
				}
			}
		}
		r.text = append(r.text, piece[:min(len(piece), maxUTF8Line-len(r.text))]...)
		r.line += len(piece)
		r.longest = max(r.longest, r.line)
		if lf >= 0 {
			r.bare = r.bare || !r.cr
			r.end()
			p = p[1:]
		}
	}
}

// maxUTF8Line is how much of a line is looked at to tell its charset.
const maxUTF8Line = 8 << 10

// end ends the line at hand.
func (r *region) end() {
	// A long line may be cut within a character: what it holds stays open.
	r.notUTF8 = r.notUTF8 || r.line <= maxUTF8Line && !utf8.Valid(r.text)
	r.text, r.line, r.cr = r.text[:0], 0, false
}

// inspect fills in what the regions hold, and gives what is between them.
func inspect(ctx context.Context, c *content, regions []region) (*region, error) {
	x := &inspector{regions: regions}
	if err := c.emit(ctx, x); err != nil {
		return nil, err
	}
	for i := range regions {
		regions[i].end()
		regions[i].text = nil
	}
	return &x.between, nil
}

type inspector struct {
	regions []region
	at      int64
	between region
}

// Write never fails.
func (x *inspector) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		for len(x.regions) > 0 && x.at >= x.regions[0].to {
			x.regions = x.regions[1:]
		}
		into, n := &x.between, int64(len(p))
		if len(x.regions) > 0 {
			if r := &x.regions[0]; x.at < r.from {
				n = min(n, r.from-x.at)
			} else {
				into, n = r, min(n, r.to-x.at)
			}
		}
		into.see(p[:n])
		x.at += n
		p = p[n:]
	}
	return total, nil
}

var _ io.Writer = (*inspector)(nil)

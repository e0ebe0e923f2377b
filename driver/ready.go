package driver

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// ReadyMessage makes a [Message] of a finished one, e.g. an .eml file: the
// envelope is read off its header (From or Sender; To, Cc and Bcc), and may be
// changed by the caller before sending. Bcc and Resent-Bcc fields are left out
// of what is sent, also where only a CR parts them from other lines. open is
// called now and again for each sending.
func ReadyMessage(open func() (io.ReadCloser, error)) (*Message, error) {
	r, err := open()
	if err != nil {
		return nil, &Error{Op: "open message", Kind: KindLocal, Err: err}
	}
	defer func() { _ = r.Close() }()
	block, err := readHeaderBlock(r)
	if err != nil {
		return nil, &Error{Op: "read message", Kind: KindLocal, Err: err}
	}
	root, err := mime.Parse(bytes.NewReader(block), nil)
	if err != nil {
		return nil, &Error{Op: "read message", Kind: KindPermanent, Err: err}
	}
	h := root.Header
	m := &Message{Open: open}
	for _, name := range []string{"Sender", "From"} {
		if a, ok := firstAddress(h.Addresses(name)); ok {
			m.From = a.Addr
			break
		}
	}
	seen := make(map[string]bool)
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, a := range h.Addresses(name) {
			if key := strings.ToLower(a.Addr); key != "" && !seen[key] {
				seen[key] = true
				m.To = append(m.To, Recipient{Address: a.Addr})
			}
		}
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		m.MessageID = ids[0]
	}
	if clean, found := withoutBlindCopies(block); found {
		skip := int64(len(block))
		m.Open = func() (io.ReadCloser, error) { return openBehind(open, clean, skip) }
	}
	return m, nil
}

// maxReadyHeader bounds the header of a ready-made message.
const maxReadyHeader = mime.DefaultHeaderBytes

// readHeaderBlock reads up to and including the empty line. Which line ends
// count is settled as [mime.Parse] does it, by the first few KiB: CR alone ends
// lines only where they have no LF.
func readHeaderBlock(r io.Reader) ([]byte, error) {
	var block []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		block = append(block, buf[:n]...)
		if len(block) > sniffSize || err != nil || bytes.IndexByte(block, '\n') >= 0 {
			if end := headerEnd(block, onlyCR(block)); end >= 0 {
				return block[:end], nil
			}
		}
		if errors.Is(err, io.EOF) {
			return block, nil
		}
		if err != nil {
			return nil, err
		}
		if len(block) > maxReadyHeader {
			return nil, &Error{Op: "header", Kind: KindPermanent, Err: ErrLimit}
		}
	}
}

// sniffSize is how much of a message tells what ends its lines.
const sniffSize = 4 << 10

// onlyCR reports whether CR alone ends the lines.
func onlyCR(b []byte) bool {
	return bytes.IndexByte(b[:min(len(b), sniffSize)], '\r') >= 0 && bytes.IndexByte(b[:min(len(b), sniffSize+1)], '\n') < 0
}

// headerEnd finds where the body starts: after the first empty line; -1 if it
// is not there yet. cr tells that CR ends lines.
func headerEnd(b []byte, cr bool) int {
	for start := 0; start < len(b); {
		n := bytes.IndexByte(b[start:], '\n')
		if cr {
			n = bytes.IndexAny(b[start:], "\r\n")
		}
		if n < 0 {
			return -1
		}
		if n == 0 || n == 1 && b[start] == '\r' {
			return start + n + 1
		}
		start += n + 1
	}
	return -1
}

// withoutBlindCopies leaves Bcc and Resent-Bcc out of a header. Servers and
// readers differ on whether a CR alone ends a line, and some make a CRLF of it:
// so what is such a field in either view is left out. Where that happens, the
// other CRs become line ends like the rest, so that the order of the lines
// stays the same to all.
func withoutBlindCopies(block []byte) (clean []byte, found bool) {
	eol := []byte("\r")
	if i := bytes.IndexByte(block, '\n'); i >= 0 {
		eol = []byte("\n")
		if i > 0 && block[i-1] == '\r' {
			eol = []byte("\r\n")
		}
	}
	cr := onlyCR(block)
	whole, piece := false, false
	for line := range bytes.Lines(block) {
		whole = !cr && isBlindCopy(line, whole)
		for len(line) > 0 {
			n := bytes.IndexAny(line, "\r\n") + 1
			bare := n > 0 && line[n-1] == '\r'
			if bare && n < len(line) && line[n] == '\n' {
				n, bare = n+1, false
			}
			if n == 0 {
				n = len(line)
			}
			piece = isBlindCopy(line[:n], piece)
			switch {
			case whole || piece:
				found = true
			case bare:
				clean = append(append(clean, line[:n-1]...), eol...)
			default:
				clean = append(clean, line[:n]...)
			}
			line = line[n:]
		}
	}
	return clean, found
}

// isBlindCopy reports whether a line belongs to a Bcc or Resent-Bcc field;
// before tells whether the line before it does, for lines that go on.
func isBlindCopy(line []byte, before bool) bool {
	if line[0] == ' ' || line[0] == '\t' {
		return before
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimSpace(name)
	return ok && (bytes.EqualFold(name, []byte("bcc")) || bytes.EqualFold(name, []byte("resent-bcc")))
}

// openBehind gives head followed by what open gives behind its first skip bytes.
func openBehind(open func() (io.ReadCloser, error), head []byte, skip int64) (io.ReadCloser, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		_ = r.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), r), r}, nil
}

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
// changed by the caller before sending. Bcc fields are left out of what is
// sent. open is called now and again for each sending.
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
	if h.Has("Bcc") {
		clean := withoutField(block, "bcc")
		skip := int64(len(block))
		m.Open = func() (io.ReadCloser, error) { return openBehind(open, clean, skip) }
	}
	return m, nil
}

// maxReadyHeader bounds the header of a ready-made message.
const maxReadyHeader = mime.DefaultHeaderBytes

// readHeaderBlock reads up to and including the empty line.
func readHeaderBlock(r io.Reader) ([]byte, error) {
	var block []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		block = append(block, buf[:n]...)
		if end := headerEnd(block); end >= 0 {
			return block[:end], nil
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

// headerEnd finds where the body starts: after the first empty line.
func headerEnd(b []byte) int {
	end := -1
	for _, sep := range []string{"\n\r\n", "\n\n"} {
		if i := bytes.Index(b, []byte(sep)); i >= 0 && (end < 0 || i+len(sep) < end) {
			end = i + len(sep)
		}
	}
	return end
}

// withoutField leaves the fields of that lower-case name out of a header.
func withoutField(block []byte, name string) []byte {
	var out []byte
	dropping := false
	for line := range bytes.Lines(block) {
		if line[0] != ' ' && line[0] != '\t' {
			field, _, ok := bytes.Cut(line, []byte(":"))
			dropping = ok && strings.EqualFold(strings.TrimSpace(string(field)), name)
		}
		if !dropping {
			out = append(out, line...)
		}
	}
	return out
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

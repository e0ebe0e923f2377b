package ews

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
)

// errBase64 says that a content is no base64.
var errBase64 = errors.New("the content is not valid base64")

// base64Buffer is how much text is decoded at once; a multiple of 4.
const base64Buffer = 32 << 10

// A base64Reader decodes the text of the element at hand, however long, in
// bounded memory. It ends with io.EOF at the end tag.
type base64Reader struct {
	src    *source
	text   []byte // digits not decoded yet
	plain  []byte // decoded, not read yet
	out    []byte
	padded bool // the padding was seen: nothing may follow
	err    error
}

func newBase64Reader(src *source) *base64Reader {
	return &base64Reader{src: src, text: make([]byte, 0, base64Buffer), out: make([]byte, base64Buffer/4*3)}
}

func (r *base64Reader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

// fill decodes some more text.
func (r *base64Reader) fill() {
	end := false
	for !end && len(r.text) < base64Buffer {
		var text []byte
		if text, end, r.err = r.src.chunk(); r.err != nil {
			return
		}
		if end {
			break
		}
		n, ok := r.gather(text)
		r.src.take(n)
		if !ok {
			r.err = errBase64
			return
		}
	}
	n := len(r.text) &^ 3
	if n > 0 && r.padded || end && n < len(r.text) {
		r.err = errBase64
		return
	}
	m, err := base64.StdEncoding.Decode(r.out, r.text[:n])
	if err != nil {
		r.err = errBase64
		return
	}
	r.padded = n > 0 && r.text[n-1] == '='
	r.plain = r.out[:m]
	r.text = r.text[:copy(r.text, r.text[n:])]
	if end {
		r.err = io.EOF
	}
}

// gather takes digits out of text, line by line, as far as there is room. It
// gives how much of text was used. Only blanks, and references to them, may be
// among the digits.
func (r *base64Reader) gather(text []byte) (used int, ok bool) {
	for used < len(text) && len(r.text) < base64Buffer {
		switch text[used] {
		case '\n', '\r', ' ', '\t':
			used++
			continue
		case '&':
			if used > 0 {
				return used, true
			}
			return r.blank()
		}
		line := text[used:]
		line = line[:min(len(line), base64Buffer-len(r.text))]
		for _, b := range [...]byte{'\n', '\r', ' ', '\t', '&'} {
			if i := bytes.IndexByte(line, b); i >= 0 {
				line = line[:i]
			}
		}
		r.text = append(r.text, line...)
		used += len(line)
	}
	return used, true
}

// blank passes over a character reference that stands for a blank, such as
// &#xD;, with which servers keep line ends from being normalised.
func (r *base64Reader) blank() (used int, ok bool) {
	head, _ := r.src.r.Peek(maxReference)
	for _, ref := range []string{"&#xD;", "&#xA;", "&#x9;", "&#x20;", "&#13;", "&#10;", "&#9;", "&#32;"} {
		if len(head) >= len(ref) && bytes.EqualFold(head[:len(ref)], []byte(ref)) {
			return len(ref), true
		}
	}
	return 0, false
}

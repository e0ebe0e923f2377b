package ews

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/maildriver/maildriver/driver"
)

// sourceBuffer is what is read from the network at once.
const sourceBuffer = 64 << 10

// replacement is U+FFFD, which takes the place of what XML 1.0 forbids.
const replacement = "\xef\xbf\xbd"

// A source is an answer as the XML decoder sees it. Exchange writes character
// references and control bytes that XML 1.0 forbids (section 2.2, Char) and at
// which encoding/xml would stop; here they become U+FFFD. Between two tokens
// the text of an element can be read past the decoder, however long it is.
type source struct {
	r       *bufio.Reader
	pending string // what comes before r
	prev    byte   // the last two bytes that the decoder took
	last    byte
	budget  int64 // bytes that the decoder may still take
}

func newSource(r io.Reader, budget int64) *source {
	return &source{r: bufio.NewReaderSize(r, sourceBuffer), budget: budget}
}

// errTooLong says that an answer without its message is longer than any that
// was asked for.
var errTooLong = fmt.Errorf("%w: the answer is too long", driver.ErrLimit)

// ReadByte implements io.ByteReader, which keeps the decoder from reading
// ahead.
func (s *source) ReadByte() (byte, error) {
	b, err := s.next()
	if err == nil {
		s.prev, s.last = s.last, b
	}
	return b, err
}

// Read completes io.Reader for the decoder, which uses ReadByte alone.
func (s *source) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := s.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

func (s *source) next() (byte, error) {
	if s.pending != "" {
		b := s.pending[0]
		s.pending = s.pending[1:]
		return b, nil
	}
	b, err := s.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if s.budget--; s.budget < 0 {
		return 0, errTooLong
	}
	switch {
	case b == '&':
		return s.reference()
	case b >= utf8.RuneSelf:
		return s.multibyte(b)
	case b < ' ' && b != '\t' && b != '\n' && b != '\r':
		return s.replace(0)
	}
	return b, nil
}

// replace drops n bytes and puts the replacement in their place and in that of
// the byte at hand.
func (s *source) replace(n int) (byte, error) {
	if _, err := s.r.Discard(n); err != nil {
		return 0, err
	}
	s.pending = replacement[1:]
	return replacement[0], nil
}

// maxReference is the longest numeric reference that is looked at, without &.
const maxReference = 12

// reference looks whether a numeric character reference is one that XML 1.0
// permits. Leading zeros without end are the decoder's to refuse.
func (s *source) reference() (byte, error) {
	head, err := s.r.Peek(maxReference)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	end := bytes.IndexByte(head, ';')
	if end < 2 || head[0] != '#' {
		return '&', nil
	}
	digits, base := string(head[1:end]), 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if errors.Is(err, strconv.ErrSyntax) || err == nil && isChar(rune(min(n, utf8.MaxRune+1))) {
		return '&', nil
	}
	return s.replace(end + 1)
}

// multibyte checks a character of several bytes.
func (s *source) multibyte(b byte) (byte, error) {
	n := 0
	switch {
	case b >= 0xf0:
		n = 3
	case b >= 0xe0:
		n = 2
	case b >= 0xc0:
		n = 1
	}
	head, err := s.r.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var char [utf8.UTFMax]byte
	char[0] = b
	r, size := utf8.DecodeRune(char[:1+copy(char[1:], head)])
	if r == utf8.RuneError && size == 1 {
		return s.replace(0)
	}
	if !isChar(r) {
		return s.replace(size - 1)
	}
	if _, err := s.r.Discard(size - 1); err != nil {
		return 0, err
	}
	s.budget -= int64(size - 1)
	s.pending = string(char[1:size])
	return b, nil
}

// isChar is the production Char of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}

// closedItself tells that the start tag just read was <a/>: the decoder still
// owes its end, and no text follows.
func (s *source) closedItself() bool { return s.prev == '/' }

// chunk gives text of the element at hand that is in memory, at least a byte,
// up to the next markup; end tells that there is none before it. Some of it is
// taken with take.
func (s *source) chunk() (text []byte, end bool, err error) {
	if _, err := s.r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	buf, _ := s.r.Peek(s.r.Buffered())
	if i := bytes.IndexByte(buf, '<'); i >= 0 {
		return buf[:i], i == 0, nil
	}
	return buf, false, nil
}

func (s *source) take(n int) { _, _ = s.r.Discard(n) }

// skipText passes over the text of the element at hand.
func (s *source) skipText() error {
	for {
		text, end, err := s.chunk()
		if err != nil || end {
			return err
		}
		s.take(len(text))
	}
}

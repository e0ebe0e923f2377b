package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/maildriver/maildriver/driver"
)

// maxHeader bounds what Header keeps in memory. A longer header is cut there:
// for telling two mails apart its first MiB is enough.
const maxHeader = 1 << 20

// Header implements [driver.Fingerprinter] with TOP, or with RETR where the
// server has no TOP. The whole header block is in memory when it returns, so
// that the session is free for the next command.
func (m *mailbox) Header(ctx context.Context, id driver.ID) (io.Reader, error) {
	defer m.s.watch(ctx)()
	n, ok := m.numbers[id]
	if !ok || m.deleted[n] {
		return nil, m.gone("top", id)
	}
	var header *bytes.Buffer
	keep := func(_ retrieval, b *body) (err error) {
		header, err = readHeader(b)
		return err
	}
	todo := []retrieval{{id, n}}
	if m.mayTOP() {
		if err := m.each("TOP", todo, nil, keep, "0"); err != nil || header != nil {
			return header, err
		}
	}
	whole := func(r retrieval, b *body) error {
		b.max = m.maxMail
		if err := keep(r, b); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, b); err != nil && !errors.Is(err, driver.ErrLimit) {
			return err
		}
		return nil
	}
	if err := m.each("RETR", todo, nil, whole); err != nil {
		return nil, err
	}
	if header == nil {
		return nil, m.gone("retr", id)
	}
	m.noTOP = true
	return header, nil
}

// readHeader reads up to and including the first empty line.
func readHeader(r io.Reader) (*bytes.Buffer, error) {
	in := bufio.NewReaderSize(r, 4<<10)
	var buf bytes.Buffer
	for start := true; buf.Len() < maxHeader; {
		piece, err := in.ReadSlice('\n')
		buf.Write(piece)
		if start && (string(piece) == "\r\n" || string(piece) == "\n") {
			break
		}
		start = bytes.HasSuffix(piece, []byte("\n"))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	return &buf, nil
}

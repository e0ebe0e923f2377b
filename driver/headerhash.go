package driver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// A headerHash hashes a header block: its lines without their line ends, up to
// the empty line, so that RETR and TOP give the same.
type headerHash struct {
	h    hash.Hash
	line []byte
	n    int
	done bool
}

// maxHeaderHashBytes is as much of a header as counts.
const maxHeaderHashBytes = 64 << 10

func newHeaderHash() *headerHash { return &headerHash{h: sha256.New()} }

func (h *headerHash) Write(p []byte) (int, error) {
	for rest := p; !h.done && len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			h.take(rest)
			break
		}
		h.take(rest[:i])
		rest = rest[i+1:]
		h.endLine()
	}
	return len(p), nil
}

func (h *headerHash) take(b []byte) {
	room := maxHeaderHashBytes - h.n
	h.line = append(h.line, b[:min(len(b), room)]...)
	h.n += min(len(b), room)
	h.done = h.n >= maxHeaderHashBytes
}

func (h *headerHash) endLine() {
	line := bytes.TrimRight(h.line, "\r")
	if len(line) == 0 {
		h.done = true
		return
	}
	h.h.Write(line)
	h.h.Write([]byte{'\n'})
	h.line = h.line[:0]
}

func (h *headerHash) sum() string {
	if !h.done && len(h.line) > 0 {
		h.endLine()
	}
	return hex.EncodeToString(h.h.Sum(nil))
}

func hashHeader(r io.Reader) (string, error) {
	h := newHeaderHash()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return h.sum(), nil
}

package pop3test

import (
	"slices"
	"sync"
)

// maxTranscript bounds what is kept of each direction of a connection.
const maxTranscript = 1 << 20

// A Transcript has the bytes of one connection, before encryption, the first
// MiB of each direction. Passwords are in it.
type Transcript struct {
	Client []byte // what the client sent
	Server []byte // what the server sent
}

type transcript struct {
	mu sync.Mutex
	Transcript
}

func (t *transcript) client(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Client = appendUpTo(t.Client, b)
}

func (t *transcript) server(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Server = appendUpTo(t.Server, b)
}

func appendUpTo(dst, b []byte) []byte {
	return append(dst, b[:min(len(b), max(0, maxTranscript-len(dst)))]...)
}

// Transcripts returns the connections so far, in the order they were made.
func (s *Server) Transcripts() []Transcript {
	s.mu.Lock()
	logs := slices.Clone(s.logs)
	s.mu.Unlock()
	list := make([]Transcript, 0, len(logs))
	for _, t := range logs {
		t.mu.Lock()
		list = append(list, Transcript{slices.Clone(t.Client), slices.Clone(t.Server)})
		t.mu.Unlock()
	}
	return list
}

package smtp

import (
	"bytes"
	"io"
)

// A stuffer writes canonical content to w as the content of DATA: a dot at the
// start of a line is doubled (RFC 5321 section 4.5.2).
type stuffer struct {
	w      io.Writer
	inLine bool
}

var (
	lfDot = []byte("\n.")
	dot   = []byte(".")
)

func (s *stuffer) Write(p []byte) (int, error) {
	total := len(p)
	if total == 0 {
		return 0, nil
	}
	if p[0] == '.' && !s.inLine {
		if _, err := s.w.Write(dot); err != nil {
			return 0, err
		}
	}
	for {
		i := bytes.Index(p, lfDot)
		if i < 0 {
			break
		}
		if _, err := s.w.Write(p[:i+2]); err != nil {
			return 0, err
		}
		if _, err := s.w.Write(dot); err != nil {
			return 0, err
		}
		p = p[i+2:]
		s.inLine = true
	}
	if len(p) > 0 {
		if _, err := s.w.Write(p); err != nil {
			return 0, err
		}
		s.inLine = p[len(p)-1] != '\n'
	}
	return total, nil
}

package pop3

import "strings"

// Limits of CAPA: RFC 2449 section 3 permits 512 bytes a line.
const (
	maxCapaLine  = 1 << 10
	maxCapaLines = 500
)

// capabilities maps the upper-case keyword of a line of CAPA to its arguments,
// those of all such lines (RFC 2449). nil means that the server has no CAPA.
type capabilities map[string][]string

func (c capabilities) has(keyword string) bool {
	_, ok := c[keyword]
	return ok
}

// capa asks for the capabilities. A refusal leaves those known: a server may
// answer CAPA only before or only after login.
func (s *session) capa() error {
	if _, err := s.command("CAPA"); err != nil {
		if _, ok := isRefusal(err); ok {
			return nil
		}
		return err
	}
	caps := make(capabilities)
	err := s.newBody("capa", -1).lines(maxCapaLine, maxCapaLines, func(line []byte) error {
		if words := strings.Fields(string(line)); len(words) > 0 {
			key := strings.ToUpper(words[0])
			caps[key] = append(caps[key], words[1:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.caps = caps
	return nil
}

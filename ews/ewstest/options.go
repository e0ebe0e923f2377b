package ewstest

import (
	"fmt"
	"net/http"
	"strings"
)

// An Option changes how a [Server] behaves.
type Option func(*Server)

// WithVersion makes the server one of that build, e.g. 14, 2, 328 for Exchange
// 2010 SP2; default 15, 1, 2507 (Exchange 2016). It refuses requests of a newer
// level, and elements and folders that it does not know.
func WithVersion(major, minor, number int) Option {
	return func(s *Server) { s.build = [3]int{major, minor, number} }
}

// WithVersionName sets the attribute Version of ServerVersionInfo, "" for none.
// The default is that of the level; real servers say what no request may say.
func WithVersionName(name string) Option { return func(s *Server) { s.versionName = &name } }

// WithNames adds names to the server's certificate, e.g. "mail.example.com".
func WithNames(names ...string) Option {
	return func(s *Server) { s.names = append(s.names, names...) }
}

// WithPageLimit bounds the items of one FindItem, folders of one FindFolder and
// changes of one SyncFolderItems.
func WithPageLimit(n int) Option { return func(s *Server) { s.pageLimit = n } }

// WithAccount adds an account with a mailbox of its own. The first replaces
// [User] and [Password].
func WithAccount(user, password string) Option {
	return func(s *Server) { s.accounts = append(s.accounts, account{user, password}) }
}

// WithToken also takes a bearer token, for the first account.
func WithToken(token string) Option {
	return func(s *Server) { s.tokens = append(s.tokens, token) }
}

// WithAuth replaces the check of credentials: auth gives the user, or false
// and the challenges for WWW-Authenticate. It is called for each request.
func WithAuth(auth func(r *http.Request) (user string, challenges []string, ok bool)) Option {
	return func(s *Server) { s.auth = auth }
}

// With2007Prefixes answers with the prefixes that Exchange 2007 uses.
func With2007Prefixes() Option {
	return func(s *Server) {
		s.prefixes = strings.NewReplacer("<s:", "<soap:", "</s:", "</soap:", "xmlns:s=", "xmlns:soap=", "<h:", "<t:", "</h:", "</t:", "xmlns:h=", "xmlns:t=")
	}
}

// WithRefused makes the server refuse messages to an address.
func WithRefused(address string) Option {
	return func(s *Server) { s.refused[strings.ToLower(address)] = true }
}

// WithAutodiscover answers Autodiscover in all its forms, for every host, with
// the server's URL.
func WithAutodiscover() Option {
	return func(s *Server) {
		s.Handle(poxPath, http.HandlerFunc(s.pox))
		s.Handle(soapPath, http.HandlerFunc(s.soap))
		s.Handle(jsonPath, http.HandlerFunc(s.json))
	}
}

// level names the newest level that the server takes.
func (s *Server) level() string {
	major, minor, number := s.build[0], s.build[1], s.build[2]
	switch {
	case major == 8 && minor == 0:
		return levels[0]
	case major == 8:
		return levels[1]
	case major == 14:
		return levels[2+min(minor, 2)]
	case major == 15 && minor == 0 && number < 847:
		return levels[5]
	case major == 15 && minor == 0:
		return levels[6]
	}
	return levels[7]
}

var levels = []string{
	"Exchange2007", "Exchange2007_SP1", "Exchange2010", "Exchange2010_SP1", "Exchange2010_SP2",
	"Exchange2013", "Exchange2013_SP1", "Exchange2016",
}

func levelNumber(name string) int {
	for i, l := range levels {
		if l == name {
			return i
		}
	}
	return -1
}

func (s *Server) versionInfo() string {
	name := s.level()
	if s.versionName != nil {
		name = *s.versionName
	}
	attr := ""
	if name != "" {
		attr = fmt.Sprintf(` Version="%s"`, escape(name))
	}
	return fmt.Sprintf(`<h:ServerVersionInfo MajorVersion="%d" MinorVersion="%d" MajorBuildNumber="%d" MinorBuildNumber="9"%s xmlns:h="%s"/>`,
		s.build[0], s.build[1], s.build[2], attr, nsTypes)
}

// WithRecording puts the operations that the server is sent into a directory, as
// the environment variable [RecordEnv] does.
func WithRecording(dir string) Option { return func(s *Server) { s.recordTo = dir } }

// SetPageLimit changes what [WithPageLimit] set.
func (s *Server) SetPageLimit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pageLimit = n
}

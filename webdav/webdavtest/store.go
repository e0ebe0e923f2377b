package webdavtest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"time"
)

// The names of the folders, by their httpmail property.
var (
	english = map[string]string{
		"inbox": "Inbox", "deleteditems": "Deleted Items", "drafts": "Drafts", "sentitems": "Sent Items", "outbox": "Outbox",
		"calendar": "Calendar", "contacts": "Contacts", "journal": "Journal", "notes": "Notes", "tasks": "Tasks", "junkemail": "Junk E-mail",
	}
	german = map[string]string{
		"inbox": "Posteingang", "deleteditems": "Gelöschte Objekte", "drafts": "Entwürfe", "sentitems": "Gesendete Objekte", "outbox": "Postausgang",
		"calendar": "Kalender", "contacts": "Kontakte", "journal": "Journal", "notes": "Notizen", "tasks": "Aufgaben",
	}
)

type folder struct{ items []*item }

// An item is a message of a folder.
type item struct {
	name    string
	uid     string
	size    int64
	open    func() io.ReadCloser
	read    bool
	bcc     string
	arrived time.Time
}

func (f *folder) find(name string) *item {
	for _, it := range f.items {
		if strings.EqualFold(it.name, name) {
			return it
		}
	}
	return nil
}

func (f *folder) drop(it *item) {
	for i := range f.items {
		if f.items[i] == it {
			f.items = append(f.items[:i], f.items[i+1:]...)
			return
		}
	}
}

// A Sent is a message that the server took for sending.
type Sent struct {
	From string
	To   []string // with the blind copies
	Data []byte
}

// Sent gives the messages that were taken for sending.
func (s *Server) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Sent(nil), s.sent...)
}

// Name is the name of a well-known folder, given by its httpmail property, in
// the language of the server.
func (s *Server) Name(property string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[property]
}

// Rename gives a well-known folder, given by its httpmail property, another
// name.
func (s *Server) Rename(property, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.names[property]
	s.names = maps.Clone(s.names)
	s.names[property] = name
	s.folders[name] = s.folders[old]
	delete(s.folders, old)
}

// AddFolder makes a folder; path is of names with "/" between them, below the
// mailbox.
func (s *Server) AddFolder(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders[path] = &folder{}
}

// Add puts messages into the Inbox behind those that are there.
func (s *Server) Add(raw ...[]byte) { s.AddTo(s.Name("inbox"), raw...) }

// AddTo is Add for another folder, by path.
func (s *Server) AddTo(path string, raw ...[]byte) {
	for _, b := range raw {
		s.AddFrom(path, int64(len(b)), func() io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) })
	}
}

// AddFrom adds a message whose bytes are made when they are asked for.
func (s *Server) AddFrom(path string, size int64, open func() io.ReadCloser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.serial.Add(1)
	s.folders[path].items = append(s.folders[path].items, &item{
		name: fmt.Sprintf("Mail %06d, 100%% #1.EML", n), uid: fmt.Sprintf("rid:%032x", n), size: size, open: open,
		arrived: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second),
	})
}

// Count tells how many messages a folder has; the Inbox has the property name
// "inbox".
func (s *Server) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folders[path] == nil {
		return 0
	}
	return len(s.folders[path].items)
}

// Left counts the messages of the Inbox once no request is being answered.
func (s *Server) Left() int {
	s.Settled()
	return s.Count(s.Name("inbox"))
}

// Unread counts the messages of a folder that are not marked as read.
func (s *Server) Unread(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, it := range s.folders[path].items {
		if !it.read {
			n++
		}
	}
	return n
}

// encode writes a path as Exchange does: percent-encoded UTF-8, but for the
// signs that may stand there.
func encode(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		p = url.PathEscape(p)
		parts[i] = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%2C", ",").Replace(p)
	}
	return strings.Join(parts, "/")
}

// split finds the folder and the item of a path on the server; f is nil if
// there is no such mailbox or folder.
func (s *Server) split(path string) (f *folder, dir, name string, it *item) {
	rest, ok := strings.CutPrefix(path, "/exchange/")
	if !ok {
		return nil, "", "", nil
	}
	box, rest, _ := strings.Cut(rest, "/")
	if !strings.EqualFold(box, Alias) && !strings.EqualFold(box, Address) {
		return nil, "", "", nil
	}
	rest = strings.TrimSuffix(rest, "/")
	if uid, ok := strings.CutPrefix(rest, flatPrefix); ok {
		for dir, f := range s.folders {
			for _, it := range f.items {
				if it.uid == uid {
					return f, dir, it.name, it
				}
			}
		}
		return s.folders[""], "", uid, nil
	}
	if f := s.folders[rest]; f != nil {
		return f, rest, "", nil
	}
	i := strings.LastIndexByte(rest, '/')
	if i >= 0 {
		dir = rest[:i]
	}
	name = rest[i+1:]
	if f = s.folders[dir]; f != nil {
		it = f.find(name)
	}
	return f, dir, name, it
}

// flatPrefix is that of permanent URLs.
const flatPrefix = "-FlatUrlSpace-/"

package ewstest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// An Item is a mail, or something else that a folder may hold.
type Item struct {
	// ID and ChangeKey are given by the server.
	ID, ChangeKey string
	// Raw is the MIME content. Open and Size, if Open is set, give one that is
	// too large for memory.
	Raw  []byte
	Open func() io.Reader
	Size int64

	Read     bool
	Received time.Time // the zero time is that of adding
	// Type is the element of the item, "" for Message.
	Type string
	// Subject is written into listings and items as it is, unescaped, so that
	// it may hold what XML forbids. "" leaves it out.
	Subject string
	// Code, if set, is the error with which GetItem answers for the content.
	Code string
	// Base64, if set, is written in place of the content's base64.
	Base64 string
}

func (it *Item) open() io.Reader {
	if it.Open != nil {
		return it.Open()
	}
	return bytes.NewReader(it.Raw)
}

func (it *Item) size() int64 {
	if it.Open != nil {
		return it.Size
	}
	return int64(len(it.Raw))
}

func (it *Item) element() string {
	if it.Type == "" {
		return "Message"
	}
	return it.Type
}

// A Sent is a message that the server was given to send.
type Sent struct {
	MIME []byte
	// Bcc are the addresses of BccRecipients.
	Bcc []string
	// Disposition is SendOnly or SendAndSaveCopy; SavedTo the path of the
	// folder with the copy, "" if there is none.
	Disposition, SavedTo string
	// Level and User are of the request.
	Level, User string
}

type folder struct {
	id, name string
	known    string // id of a well-known folder
	parent   *folder
	kids     []*folder
	items    []*Item
	byID     map[string]*Item
	log      []change // for SyncFolderItems
	epoch    int      // of the sync states
}

type change struct{ kind, id string }

func (f *folder) path() string {
	if f.parent == nil || f.known != "" {
		return f.name
	}
	return f.parent.path() + "/" + f.name
}

func (f *folder) item(id string) *Item { return f.byID[id] }

// A box is one mailbox.
type box struct {
	root    *folder
	folders []*folder
}

// since gives the folders that servers of a level have.
var since = map[string]int{
	"inbox": 0, "sentitems": 0, "deleteditems": 0, "drafts": 0, "junkemail": 0, "outbox": 0, "msgfolderroot": 0, "root": 0, "calendar": 0,
	"contacts": 0, "journal": 0, "notes": 0, "tasks": 0, "searchfolders": 0, "voicemail": 0, "publicfoldersroot": 1,
	"recoverableitemsroot": 3, "recoverableitemsdeletions": 3, "recoverableitemsversions": 3, "recoverableitemspurges": 3,
	"archiveroot": 3, "archivemsgfolderroot": 3, "archivedeleteditems": 3, "archiverecoverableitemsroot": 3,
	"archiverecoverableitemsdeletions": 3, "archiverecoverableitemsversions": 3, "archiverecoverableitemspurges": 3, "archiveinbox": 6,
}

func (s *Server) newBox() *box {
	b := &box{}
	b.root = &folder{id: s.newID("F"), name: "MsgFolderRoot", known: "msgfolderroot"}
	b.folders = append(b.folders, b.root)
	known := make([]string, 0, len(since))
	for name := range since {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, name := range known {
		if name != "msgfolderroot" {
			b.folders = append(b.folders, &folder{id: s.newID("F"), name: name, known: name, parent: b.root})
			b.root.kids = append(b.root.kids, b.folders[len(b.folders)-1])
		}
	}
	return b
}

// find finds a folder by its path: a well-known name without regard to case,
// then names. nil if there is none.
func (b *box) find(path string) *folder {
	parts := strings.Split(path, "/")
	var at *folder
	for _, f := range b.folders {
		if f.known == strings.ToLower(parts[0]) {
			at = f
		}
	}
	for _, name := range parts[1:] {
		if at == nil {
			return nil
		}
		i := slices.IndexFunc(at.kids, func(k *folder) bool { return k.name == name })
		if i < 0 {
			return nil
		}
		at = at.kids[i]
	}
	return at
}

func (s *Server) mailbox(user string) *box {
	b := s.boxes[strings.ToLower(user)]
	if b == nil {
		panic(fmt.Sprintf("ewstest: there is no mailbox %q", user))
	}
	return b
}

// first is the mailbox of the first account.
func (s *Server) first() *box { return s.mailbox(s.accounts[0].user) }

// AddMailbox adds a mailbox without an account, such as a shared one.
func (s *Server) AddMailbox(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes[strings.ToLower(address)] = s.newBox()
}

// AddFolder adds a folder to one that is there: "Inbox/Support". Two may have
// one name.
func (s *Server) AddFolder(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := strings.LastIndex(path, "/")
	if i < 0 {
		panic("ewstest: " + path + " is in no folder")
	}
	s.addFolder(s.first().find(path[:i]), path[i+1:])
}

// AddFolderNamed is AddFolder for a name that may hold a slash.
func (s *Server) AddFolderNamed(parent, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addFolder(s.first().find(parent), name)
}

func (s *Server) addFolder(parent *folder, name string) {
	if parent == nil {
		panic("ewstest: there is no such folder")
	}
	f := &folder{id: s.newID("F"), name: name, parent: parent}
	parent.kids = append(parent.kids, f)
	b := s.boxOf(parent)
	b.folders = append(b.folders, f)
}

// boxOf finds the mailbox of a folder.
func (s *Server) boxOf(f *folder) *box {
	for _, b := range s.boxes {
		if slices.Contains(b.folders, f) {
			return b
		}
	}
	panic("ewstest: a folder of no mailbox")
}

// RemoveFolder removes a folder with all in it.
func (s *Server) RemoveFolder(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.first()
	f := b.find(path)
	if f == nil || f.parent == nil {
		panic("ewstest: there is no folder " + path)
	}
	f.parent.kids = slices.DeleteFunc(f.parent.kids, func(k *folder) bool { return k == f })
	b.folders = slices.DeleteFunc(b.folders, func(k *folder) bool {
		for ; k != nil; k = k.parent {
			if k == f {
				return true
			}
		}
		return false
	})
}

// Add puts mails into the Inbox of the first account.
func (s *Server) Add(raw ...[]byte) {
	for _, r := range raw {
		s.AddItem("Inbox", Item{Raw: r})
	}
}

// AddItem puts an item into a folder of the first account and gives its id.
func (s *Server) AddItem(path string, it Item) string {
	return s.AddItemTo(s.accounts[0].user, path, it)
}

// AddItemTo puts an item into a folder of a mailbox and gives its id.
func (s *Server) AddItemTo(mailbox, path string, it Item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.mailbox(mailbox).find(path)
	if f == nil {
		panic("ewstest: there is no folder " + path)
	}
	return s.put(f, it)
}

// put adds an item. What comes later was received later.
func (s *Server) put(f *folder, it Item) string {
	it.ID, it.ChangeKey = s.newID("I"), s.newKey()
	if it.Received.IsZero() {
		it.Received = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC).Add(time.Duration(s.counter) * time.Millisecond)
	}
	f.items = append(f.items, &it)
	if f.byID == nil {
		f.byID = map[string]*Item{}
	}
	f.byID[it.ID] = &it
	f.log = append(f.log, change{"Create", it.ID})
	s.notify(f, "NewMailEvent", it.ID)
	return it.ID
}

func (s *Server) newKey() string { return fmt.Sprintf("CQAAAB%06dXq=", s.next()) }

// take removes an item.
func (f *folder) take(id string) *Item {
	it := f.item(id)
	if it != nil {
		i := slices.Index(f.items, it)
		f.items = slices.Delete(f.items, i, i+1)
		delete(f.byID, id)
		f.log = append(f.log, change{"Delete", id})
	}
	return it
}

// Items gives the items of a folder of the first account, in the order in which
// they came.
func (s *Server) Items(path string) []Item { return s.ItemsOf(s.accounts[0].user, path) }

// ItemsOf is Items for another mailbox.
func (s *Server) ItemsOf(mailbox, path string) (list []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.mailbox(mailbox).find(path)
	if f == nil {
		return nil
	}
	for _, it := range f.items {
		list = append(list, *it)
	}
	return list
}

// Count counts the items of a folder of the first account.
func (s *Server) Count(path string) int { return len(s.Items(path)) }

// RemoveItem removes an item of the first account, as another client does.
func (s *Server) RemoveItem(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.first().folders {
		f.take(id)
	}
}

// ChangeItem gives an item a new change key, as another client's change does,
// and sets its read flag.
func (s *Server) ChangeItem(id string, read bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.first().folders {
		if it := f.item(id); it != nil {
			it.ChangeKey, it.Read = s.newKey(), read
			f.log = append(f.log, change{"Update", id})
		}
	}
}

// Sent gives the messages that the server was given to send.
func (s *Server) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

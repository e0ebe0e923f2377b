package imap

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

const inbox = "INBOX"

// maxPath bounds a folder's path in bytes.
const maxPath = 1000

// checkPath refuses what cannot be a path.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty")
	case len(path) > maxPath:
		return fmt.Errorf("the path is longer than %d bytes", maxPath)
	case !utf8.ValidString(path):
		return errors.New("the path is not UTF-8")
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }):
		return errors.New("the path holds a control character")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			return fmt.Errorf("the path %q has an empty part", path)
		}
	}
	return nil
}

// canonicalPath is the one spelling of a path: records, lock and Event.ID
// depend on it.
func canonicalPath(path string) string {
	first, rest, more := strings.Cut(path, "/")
	if more && strings.EqualFold(first, folderRoot) {
		first, rest, more = strings.Cut(rest, "/")
	}
	if strings.EqualFold(first, inbox) {
		first = inbox
	}
	if more {
		return first + "/" + rest
	}
	return first
}

// A Role is what a folder is for (RFC 6154), "" for nothing in particular.
type Role string

// The roles of folders.
const (
	RoleInbox   Role = "Inbox"
	RoleAll     Role = "All"
	RoleArchive Role = "Archive"
	RoleDrafts  Role = "Drafts"
	RoleFlagged Role = "Flagged"
	RoleJunk    Role = "Junk"
	RoleSent    Role = "Sent"
	RoleTrash   Role = "Trash"
)

// wellKnown maps documented folder names to roles.
var wellKnown = map[string]Role{
	"archive": RoleArchive, "deleteditems": RoleTrash, "drafts": RoleDrafts,
	"junkemail": RoleJunk, "sentitems": RoleSent,
}

// folderRoot may begin a path and says nothing.
const folderRoot = "MsgFolderRoot"

// A namer turns paths into the server's names and back.
type namer struct {
	delim    string // "" if the server has no hierarchy
	personal string // prefix of the user's own folders, with its delimiter
	foreign  []foreignSpace
	roles    map[Role]string // to the server's names; nil until asked for
}

// A foreignSpace holds folders of other users or of all.
type foreignSpace struct {
	prefix string
	delim  string
	shared bool
}

// namer asks the server how it names folders, once.
func (s *session) namer() (*namer, error) {
	if s.names != nil {
		return s.names, nil
	}
	n := &namer{}
	var err error
	if s.has("NAMESPACE") {
		err = s.namespace(n)
	} else {
		err = s.list(`"" ""`, func(e listed) { n.delim = e.delim })
	}
	if err != nil {
		return nil, err
	}
	s.names = n
	return n, nil
}

func (s *session) namespace(n *namer) error {
	var cmd *imapclient.NamespaceCommand
	var data *imap.NamespaceData
	err := s.library().do("NAMESPACE", []string{"NAMESPACE"}, nil, func(c *imapclient.Client) func() error {
		cmd = c.Namespace()
		return func() (err error) { data, err = cmd.Wait(); return err }
	})
	if err != nil {
		return err
	}
	delim := func(r rune) string {
		if r == 0 {
			return ""
		}
		return string(r)
	}
	if len(data.Personal) > 0 {
		n.personal, n.delim = data.Personal[0].Prefix, delim(data.Personal[0].Delim)
	}
	for _, d := range data.Other {
		n.foreign = append(n.foreign, foreignSpace{d.Prefix, delim(d.Delim), false})
	}
	for _, d := range data.Shared {
		n.foreign = append(n.foreign, foreignSpace{d.Prefix, delim(d.Delim), true})
	}
	return nil
}

// resolve gives the server's name of a path.
func (s *session) resolve(path string) (string, error) {
	if err := checkPath(path); err != nil {
		return "", s.wrap("folder", driver.KindConfig, err)
	}
	path = canonicalPath(path)
	if path == inbox {
		return inbox, nil
	}
	n, err := s.namer()
	if err != nil {
		return "", err
	}
	parts := strings.Split(path, "/")
	if role, ok := wellKnown[strings.ToLower(parts[0])]; ok {
		name, err := s.byRole(n, role)
		if err != nil {
			return "", err
		}
		if name != "" {
			return s.join(path, name, n.delim, parts[1:])
		}
	}
	for _, f := range n.foreign {
		prefix := strings.TrimSuffix(f.prefix, f.delim)
		if f.prefix != "" && f.delim != "" && strings.HasPrefix(strings.Join(parts, f.delim)+f.delim, prefix+f.delim) {
			return s.join(path, parts[0], f.delim, parts[1:])
		}
	}
	if parts[0] == inbox {
		return s.join(path, inbox, n.delim, parts[1:])
	}
	own := strings.TrimSuffix(n.personal, n.delim)
	if n.personal == "" || parts[0] == own {
		return s.join(path, parts[0], n.delim, parts[1:])
	}
	return s.join(path, own, n.delim, parts)
}

// join builds a name, and refuses one that would mean another folder.
func (s *session) join(path, first, delim string, rest []string) (string, error) {
	if len(rest) > 0 && delim == "" {
		return "", s.wrap("folder", driver.KindConfig, fmt.Errorf("path %q: the server has no folders within folders", path))
	}
	if delim != "" && delim != "/" {
		for _, part := range strings.Split(path, "/") {
			if strings.Contains(part, delim) {
				return "", s.wrap("folder", driver.KindConfig, fmt.Errorf("path %q: %q parts folders on this server", path, delim))
			}
		}
	}
	return strings.Join(append([]string{first}, rest...), delim), nil
}

// byRole finds the folder that the server says has a role, "" if there is
// none.
func (s *session) byRole(n *namer, role Role) (string, error) {
	if role == RoleInbox {
		return inbox, nil
	}
	if n.roles == nil {
		roles := map[Role]string{}
		args := `"" "*"`
		if s.has("SPECIAL-USE") && (s.has("LIST-EXTENDED") || s.rev2()) {
			args += " RETURN (SPECIAL-USE)"
		}
		err := s.list(args, func(e listed) {
			if r := e.role(); r != "" && roles[r] == "" {
				roles[r] = e.name
			}
		})
		if err != nil {
			return "", err
		}
		n.roles = roles
	}
	return n.roles[role], nil
}

// path gives the path of a server's name.
func (n *namer) path(name, delim string) string {
	own := n.personal
	for _, f := range n.foreign {
		if f.prefix != "" && strings.HasPrefix(name, f.prefix) {
			own = ""
		}
	}
	if own != "" && !strings.EqualFold(strings.TrimSuffix(own, delim), inbox) {
		name = strings.TrimPrefix(name, own)
	} else if own != "" && len(name) > len(own) && strings.EqualFold(name[:len(own)], own) {
		name = name[len(own):] // "INBOX.Archive" where all folders are below INBOX
	}
	if delim != "" && delim != "/" {
		name = strings.ReplaceAll(name, delim, "/")
	}
	return canonicalPath(name)
}

// A listed folder is a line of LIST.
type listed struct {
	attrs []string // upper-case
	delim string
	name  string // as people read it
}

var roleOfAttr = map[string]Role{
	`\ALL`: RoleAll, `\ARCHIVE`: RoleArchive, `\DRAFTS`: RoleDrafts, `\FLAGGED`: RoleFlagged,
	`\JUNK`: RoleJunk, `\SENT`: RoleSent, `\TRASH`: RoleTrash,
}

func (e *listed) role() Role {
	if e.name == inbox {
		return RoleInbox
	}
	for _, a := range e.attrs {
		if r, ok := roleOfAttr[a]; ok {
			return r
		}
	}
	return ""
}

// Bounds of a listing of folders.
const (
	maxFolders     = 100_000
	maxFolderBytes = 32 << 20
)

// list runs LIST. Names that cannot be read, which no command could address
// either, are passed over with a warning instead of ending the session.
func (s *session) list(args string, f func(listed)) error { return s.listing("LIST", args, f) }

// listing is list for LIST or LSUB.
func (s *session) listing(command, args string, f func(listed)) error {
	n, size := 0, 0
	_, err := s.command(command, func(r *response) error {
		if r.typ != command {
			return nil
		}
		if n++; n > maxFolders {
			return s.wrap("list", driver.KindProtocol, fmt.Errorf("more than %d folders: %w", maxFolders, driver.ErrLimit))
		}
		if size += len(r.rest); size > maxFolderBytes {
			return s.wrap("list", driver.KindProtocol, fmt.Errorf("folders in more than %d bytes: %w", maxFolderBytes, driver.ErrLimit))
		}
		e, err := s.parseList(r.rest)
		if errors.Is(err, errUTF7) {
			s.log.Warn("a folder is passed over, for its name cannot be read", "driver", driverName, "addr", s.conn.Addr(), "name", netx.Quote(e.name))
			return nil
		}
		if err != nil {
			return err
		}
		f(e)
		return nil
	}, raw(args))
	return err
}

// parseList reads `(\HasNoChildren \Sent) "/" "Sent Mail"` (RFC 3501 section
// 7.2.2); what follows is of extensions.
func (s *session) parseList(rest []byte) (e listed, err error) {
	bad := func() (listed, error) {
		return e, s.wrap("list", driver.KindProtocol, errors.New("a LIST response cannot be read"))
	}
	if len(rest) == 0 || rest[0] != '(' {
		return bad()
	}
	attrs, rest, ok := bytes.Cut(rest[1:], []byte(")"))
	if !ok {
		return bad()
	}
	e.attrs = strings.Fields(strings.ToUpper(string(attrs)))
	delim, rest, ok := cutString(bytes.TrimLeft(rest, " "))
	if !ok || len(rest) == 0 || rest[0] != ' ' {
		return bad()
	}
	if delim != nil {
		if e.delim = string(delim); utf8.RuneCountInString(e.delim) > 1 {
			return bad()
		}
	}
	name, _, ok := cutString(rest[1:])
	if !ok || name == nil {
		return bad()
	}
	e.name = string(name)
	if strings.EqualFold(e.name, inbox) {
		e.name = inbox
	}
	if s.utf8Names() {
		if !utf8.ValidString(e.name) || strings.ContainsFunc(e.name, unicode.IsControl) {
			return e, errUTF7
		}
		return e, nil
	}
	plain, err := decodeUTF7(e.name)
	if err == nil {
		e.name = plain
	}
	return e, err
}

// cutString takes an astring, string or NIL (nil) off b. Literals are in b
// whole, as [session.complete] left them.
func cutString(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	switch b[0] {
	case '"':
		text = []byte{}
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '"':
				return text, b[i+1:], true
			case '\\':
				if i++; i == len(b) {
					return nil, nil, false
				}
			}
			text = append(text, b[i])
		}
		return nil, nil, false
	case '{':
		head, after, found := bytes.Cut(b, []byte("\r\n"))
		_, n, isLiteral, err := literalSize(head)
		if !found || !isLiteral || err != nil || n > int64(len(after)) {
			return nil, nil, false
		}
		return append([]byte{}, after[:n]...), after[n:], true
	}
	i := bytes.IndexAny(b, " ()")
	if i < 0 {
		i = len(b)
	}
	if i == 0 {
		return nil, nil, false
	}
	if strings.EqualFold(string(b[:i]), "NIL") {
		return nil, b[i:], true
	}
	return append([]byte{}, b[:i]...), b[i:], true
}

// wireName writes a folder's name as the server reads it.
func (s *session) wireName(name string) string {
	if s.utf8Names() {
		return name
	}
	return encodeUTF7(name)
}

// folderArg is a folder's name as an argument.
func (s *session) folderArg(name string) part { return str(s.wireName(name)) }

// selectFolder opens a folder by the server's name.
func (s *session) selectFolder(name string, readOnly bool) error {
	command := "SELECT"
	if readOnly {
		command = "EXAMINE"
	}
	s.box = selected{}
	st, err := s.command(command, nil, s.folderArg(name))
	if err != nil {
		return err
	}
	s.box.readOnly = st.code == "READ-ONLY" || readOnly
	if s.box.validity == 0 {
		return s.wrap(opOf(command), driver.KindPermanent, errors.New("the server gives the folder no UIDVALIDITY, so that mails have no lasting ids"))
	}
	if s.box.notSticky {
		s.log.Warn("the server does not keep the ids of mails", "driver", driverName, "addr", s.conn.Addr())
	}
	return nil
}

package ews

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// wellKnown are the names with which a path begins, and the level that a server
// must have for each. The id on the wire is the name in lower case.
var wellKnown = map[string]Version{
	"ArchiveDeletedItems":              Exchange2010SP1,
	"ArchiveInbox":                     Exchange2013SP1,
	"ArchiveMsgFolderRoot":             Exchange2010SP1,
	"ArchiveRecoverableItemsDeletions": Exchange2010SP1,
	"ArchiveRecoverableItemsPurges":    Exchange2010SP1,
	"ArchiveRecoverableItemsRoot":      Exchange2010SP1,
	"ArchiveRecoverableItemsVersions":  Exchange2010SP1,
	"ArchiveRoot":                      Exchange2010SP1,
	"Calendar":                         Exchange2007,
	"Contacts":                         Exchange2007,
	"DeletedItems":                     Exchange2007,
	"Drafts":                           Exchange2007,
	"Inbox":                            Exchange2007,
	"Journal":                          Exchange2007,
	"JunkEmail":                        Exchange2007,
	"MsgFolderRoot":                    Exchange2007,
	"Notes":                            Exchange2007,
	"Outbox":                           Exchange2007,
	"PublicFoldersRoot":                Exchange2007SP1,
	"RecoverableItemsDeletions":        Exchange2010SP1,
	"RecoverableItemsPurges":           Exchange2010SP1,
	"RecoverableItemsRoot":             Exchange2010SP1,
	"RecoverableItemsVersions":         Exchange2010SP1,
	"Root":                             Exchange2007,
	"SearchFolders":                    Exchange2007,
	"SentItems":                        Exchange2007,
	"Tasks":                            Exchange2007,
	"Voicemail":                        Exchange2007,
}

// wellKnownName finds a name without regard to case.
func wellKnownName(part string) (name string, since Version, ok bool) {
	for name, since := range wellKnown {
		if strings.EqualFold(name, part) {
			return name, since, true
		}
	}
	return "", 0, false
}

// maxPathParts is how deep a path may be; Exchange nests to 300.
const maxPathParts = 64

// splitPath parts a path at each "/" that is not escaped.
func splitPath(path string) (parts []string, err error) {
	var b strings.Builder
	escaped := false
	for _, r := range path {
		switch {
		case escaped && r != '/' && r != '\\':
			return nil, errors.New(`a "\" stands before something else than "/" or "\"`)
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '/':
			parts = append(parts, b.String())
			b.Reset()
			continue
		}
		escaped = false
		b.WriteRune(r)
	}
	if escaped {
		return nil, errors.New(`the path ends with "\"`)
	}
	return append(parts, b.String()), nil
}

// checkPath refuses what could be no path.
func checkPath(path string) error {
	parts, err := splitPath(path)
	if err != nil {
		return fmt.Errorf("folder %q: %w", path, err)
	}
	if len(parts) > maxPathParts || len(path) > 4096 {
		return fmt.Errorf("folder %.60q: more than %d parts, or 4096 bytes", path, maxPathParts)
	}
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, isControl) {
			return fmt.Errorf("folder %.60q: a part of the path is empty or holds a control character", path)
		}
	}
	if _, _, ok := wellKnownName(parts[0]); !ok {
		return fmt.Errorf("folder %.60q: %q is not a well-known folder such as Inbox; folders beside the Inbox are written MsgFolderRoot/%s", path, parts[0], path)
	}
	return nil
}

// canonicalPath writes a path the same way whoever wrote it: the well-known name
// as in the table.
func canonicalPath(path string) string {
	parts, err := splitPath(path)
	if err != nil || path == "" {
		return path
	}
	if name, _, ok := wellKnownName(parts[0]); ok {
		parts[0] = name
	}
	esc := strings.NewReplacer(`\`, `\\`, `/`, `\/`)
	for i, p := range parts {
		parts[i] = esc.Replace(p)
	}
	return strings.Join(parts, "/")
}

// A folderRef is how requests name a folder.
type folderRef struct {
	known   string // id of a well-known folder
	mailbox string // whose, "" for the account's own
	id      string // of another folder
}

// write writes the element that names the folder.
func (f folderRef) write(m *markup) {
	if f.id != "" {
		m.raw("<t:FolderId").attr("Id", f.id).raw("/>")
		return
	}
	m.raw("<t:DistinguishedFolderId").attr("Id", f.known)
	if f.mailbox == "" {
		m.raw("/>")
		return
	}
	m.raw("><t:Mailbox>").element("t:EmailAddress", f.mailbox).raw("</t:Mailbox></t:DistinguishedFolderId>")
}

// folder finds a folder by its path. What was found is remembered for later
// sessions; see forget.
func (s *session) folder(ctx context.Context, path string) (folderRef, error) {
	parts, err := splitPath(path)
	if err != nil {
		return folderRef{}, s.wrap("folder", driver.KindConfig, err)
	}
	name, since, ok := wellKnownName(parts[0])
	if !ok {
		return folderRef{}, s.wrap("folder", driver.KindConfig, checkPath(path))
	}
	if err := s.needs(ctx, since, "the folder "+name); err != nil {
		return folderRef{}, err
	}
	ref := folderRef{known: strings.ToLower(name), mailbox: s.o.ews.mailbox}
	if name == "PublicFoldersRoot" {
		ref.mailbox = "" // public folders are nobody's
	}
	if len(parts) == 1 {
		return ref, nil
	}
	key := s.folderKey(path)
	if ref, ok := s.d.mem.folder(key); ok {
		return ref, nil
	}
	for i, part := range parts[1:] {
		if ref, err = s.child(ctx, ref, part, strings.Join(parts[:i+2], "/")); err != nil {
			return folderRef{}, err
		}
	}
	s.d.mem.remember(key, ref)
	return ref, nil
}

// folderKey names a folder in the memory: the path alone would not do, because
// options of one call may choose another mailbox.
func (s *session) folderKey(path string) string {
	return s.url.Host + "\x00" + s.o.account() + "\x00" + canonicalPath(path)
}

func (m *memory) folder(key string) (folderRef, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ref, ok := m.folders[key]
	return ref, ok
}

// maxRemembered bounds what options of single calls can add.
const maxRemembered = 1000

func (m *memory) remember(key string, ref folderRef) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.folders == nil || len(m.folders) >= maxRemembered {
		m.folders = make(map[string]folderRef)
	}
	m.folders[key] = ref
}

// forget drops what is known of a folder, and tells whether that was anything.
func (s *session) forget(path string) bool {
	key := s.folderKey(path)
	s.d.mem.mu.Lock()
	defer s.d.mem.mu.Unlock()
	_, ok := s.d.mem.folders[key]
	delete(s.d.mem.folders, key)
	return ok
}

// absent tells the codes of a folder that is not there any more.
func absent(err error) bool {
	switch codeOf(err) {
	case "ErrorFolderNotFound", "ErrorItemNotFound", "ErrorParentFolderNotFound", "ErrorToFolderNotFound", "ErrorSyncFolderNotFound", "ErrorInvalidFolderId", "ErrorInvalidIdMalformed":
		return true
	}
	return false
}

// withFolder does something with a folder, and once more with the folder found
// anew if it was remembered and is not there any more.
func (s *session) withFolder(ctx context.Context, path string, do func(folderRef) error) error {
	for again := false; ; again = true {
		ref, err := s.folder(ctx, path)
		if err != nil {
			return err
		}
		err = do(ref)
		if err != nil && absent(err) && !again && s.forget(path) {
			continue
		}
		if err != nil && absent(err) {
			return s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: %s: %w", ErrFolderNotFound, netx.Quote(path), err))
		}
		return err
	}
}

// needs refuses what the server is too old for, before it is asked.
func (s *session) needs(ctx context.Context, since Version, what string) error {
	if since <= Exchange2007 {
		return nil
	}
	b, ok := s.d.mem.server()
	if !ok {
		// Any answer tells what the server is.
		if _, err := s.call(ctx, "GetFolder", getFolder(folderRef{known: "msgfolderroot", mailbox: s.o.ews.mailbox})); err != nil {
			return err
		}
		b, ok = s.d.mem.server()
	}
	level := s.d.mem.levelFor(s.o.ews.version)
	if ok && level < since {
		return s.wrap("version", driver.KindPermanent, fmt.Errorf("%w: %s needs %v, the server is %v (%v)", ErrVersion, what, since, b, level))
	}
	if !ok && level < since {
		return s.wrap("version", driver.KindPermanent, fmt.Errorf("%w: %s needs %v, the server takes %v", ErrVersion, what, since, level))
	}
	return nil
}

// folderPage is how many folders are asked for at once.
const folderPage = 500

// maxFolders bounds the folders in one folder.
const maxFolders = 100_000

// child looks for a folder in another by its name: as it is, else without
// regard to case. How servers compare names is not documented, so they are
// compared here.
func (s *session) child(ctx context.Context, parent folderRef, name, path string) (folderRef, error) {
	var exact, loose []string
	for offset := 0; ; {
		n, err := s.call(ctx, "FindFolder", findFolder(parent, offset))
		if err != nil {
			if absent(err) {
				return folderRef{}, s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: %s: %w", ErrFolderNotFound, netx.Quote(path), err))
			}
			return folderRef{}, err
		}
		page, err := pageOf(n, "Folders")
		if err != nil {
			return folderRef{}, s.wrap("findfolder", driver.KindProtocol, err)
		}
		for _, f := range page.items {
			id, shown := f.kid("FolderId").attr("Id"), f.kid("DisplayName")
			switch {
			case id == "" || shown == nil:
			case shown.text == name:
				exact = append(exact, id)
			case strings.EqualFold(shown.text, name):
				loose = append(loose, id)
			}
		}
		offset += len(page.items)
		if page.last {
			break
		}
		if len(page.items) == 0 || offset > maxFolders {
			return folderRef{}, s.wrap("findfolder", driver.KindProtocol, fmt.Errorf("the listing of folders has no end after %d", offset))
		}
	}
	if len(exact) == 0 {
		exact = loose
	}
	slices.Sort(exact)
	switch exact = slices.Compact(exact); len(exact) {
	case 0:
		return folderRef{}, s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: there is no %s in %s", ErrFolderNotFound, netx.Quote(name), netx.Quote(path)))
	case 1:
		return folderRef{id: exact[0]}, nil
	}
	return folderRef{}, s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: there are %d folders %s in %s", ErrFolderAmbiguous, len(exact), netx.Quote(name), netx.Quote(path)))
}

// A page is a part of a listing.
type page struct {
	items []*node
	last  bool
	next  int // IndexedPagingOffset, -1 if there is none
	total int // TotalItemsInView, -1 if the server does not say
}

// pageOf reads RootFolder of a FindItem or FindFolder.
func pageOf(n *node, list string) (p page, err error) {
	root := n.kid("RootFolder")
	if root == nil {
		return p, errors.New("the answer has no RootFolder")
	}
	number := func(name string) int {
		v, err := strconv.Atoi(strings.TrimSpace(root.attr(name)))
		if err != nil || v < 0 {
			return -1
		}
		return v
	}
	p = page{items: root.kid(list).all(), last: truth(root.attr("IncludesLastItemInRange")), next: number("IndexedPagingOffset"), total: number("TotalItemsInView")}
	return p, nil
}

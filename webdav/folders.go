package webdav

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// wellKnown maps the names of well-known folders, in lower case, to their
// properties in urn:schemas:httpmail: (spec: localised URLs). Those with a "/"
// are paths below the mailbox or the server.
var wellKnown = map[string]string{
	"inbox": "inbox", "calendar": "calendar", "contacts": "contacts", "deleteditems": "deleteditems",
	"drafts": "drafts", "journal": "journal", "notes": "notes", "outbox": "outbox", "sentitems": "sentitems",
	"tasks": "tasks", "junkemail": "junkemail", "msgfolderroot": "msgfolderroot",
	"root": "NON_IPM_SUBTREE/", "searchfolders": "NON_IPM_SUBTREE/Finder/", "publicfoldersroot": "/public/",
}

// laterOnly are well-known folders of other protocols and later versions.
func laterOnly(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "archive") || strings.HasPrefix(name, "recoverableitems") || name == "voicemail"
}

// checkWellKnown refuses a path whose first part is no well-known folder of
// Exchange's WebDAV.
func checkWellKnown(path string) error {
	parts, err := splitPath(path)
	if err != nil {
		return err
	}
	switch first := strings.ToLower(parts[0]); {
	case wellKnown[first] != "":
		return nil
	case laterOnly(first):
		return fmt.Errorf("%w: %q", ErrFolderNotAvailable, parts[0])
	}
	return fmt.Errorf("%q is not a well-known folder: name others from MsgFolderRoot, as in \"MsgFolderRoot/%s\"", parts[0], path)
}

// canonical is a path that is the same for each way to write the same folder.
func canonical(path string) string {
	first, rest, more := strings.Cut(path, "/")
	if wellKnown[strings.ToLower(first)] == "" {
		return path
	}
	if !more {
		return strings.ToLower(first)
	}
	return strings.ToLower(first) + "/" + rest
}

// folderProps are asked of the mailbox root.
func folderProps() []prop {
	list := []prop{{nsHTTPMail, "sendmsg"}}
	for _, key := range slices.Sorted(maps.Keys(wellKnown)) {
		if name := wellKnown[key]; !strings.Contains(name, "/") {
			list = append(list, prop{nsHTTPMail, name})
		}
	}
	return list
}

// folder finds a folder by its path and makes sure that it is there.
func (s *session) folder(ctx context.Context, path string) (davPath, error) {
	if s.set.plain {
		return s.plainFolder(ctx, path)
	}
	s.mu.Lock()
	known, ok := s.folders[path]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	parts, err := splitPath(path)
	if err != nil {
		return "", s.wrap("folder", driver.KindConfig, err)
	}
	at, err := s.wellKnownFolder(parts[0])
	if err != nil {
		return "", err
	}
	for _, part := range parts[1:] {
		at = at.child(part)
	}
	// The property says where a well-known folder is; only one that was made
	// up of names needs to be looked for.
	if name := wellKnown[strings.ToLower(parts[0])]; len(parts) > 1 || strings.Contains(name, "/") {
		if err := s.mustBeFolder(ctx, at, path); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	s.folders[path] = at.dir()
	s.mu.Unlock()
	return at.dir(), nil
}

func (s *session) wellKnownFolder(name string) (davPath, error) {
	if err := checkWellKnown(encodeSlash(name)); err != nil {
		return "", s.wrap("folder", driver.KindConfig, err)
	}
	key := wellKnown[strings.ToLower(name)]
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case key == "msgfolderroot" && s.props[key] == "":
		return s.root, nil
	case strings.HasPrefix(key, "/"):
		return davPath(key), nil
	case strings.HasSuffix(key, "/"):
		return s.root.dir() + davPath(key), nil
	case s.props[key] == "":
		return "", s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: the server names no %q", ErrFolderNotAvailable, name))
	}
	return s.props[key], nil
}

// encodeSlash makes a name a path of one part.
func encodeSlash(name string) string {
	return strings.NewReplacer(`\`, `\\`, `/`, `\/`).Replace(name)
}

// mustBeFolder asks for the folder.
func (s *session) mustBeFolder(ctx context.Context, at davPath, path string) error {
	found := false
	err := s.propfind(ctx, at.dir(), "0", []prop{{nsDAV, "isfolder"}, {nsDAV, "resourcetype"}}, func(r *response) error {
		kind, _ := r.get(nsDAV, "resourcetype")
		found = found || r.yes(nsDAV, "isfolder") || strings.Contains(kind, "collection")
		return nil
	})
	if code := codeOf(err); code == http.StatusNotFound || err == nil && !found {
		return s.wrap("folder", driver.KindPermanent, fmt.Errorf("%w: %q", ErrFolder, path))
	}
	return err
}

// plainFolder is a collection below the address.
func (s *session) plainFolder(ctx context.Context, path string) (davPath, error) {
	at := s.root
	if path != "" {
		parts, err := splitPath(path)
		if err != nil {
			return "", s.wrap("folder", driver.KindConfig, err)
		}
		for _, part := range parts {
			at = at.child(part)
		}
	}
	if err := s.mustBeFolder(ctx, at, at.decoded()); err != nil {
		return "", err
	}
	return at.dir(), nil
}

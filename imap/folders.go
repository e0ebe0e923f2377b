package imap

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A Folder is one folder of an account.
type Folder struct {
	// Path is what [WithFolder] takes: "/" between its parts, INBOX in upper
	// case.
	Path string
	// Name is the server's own name, in UTF-8.
	Name string
	// Role is what the folder is for, "" for nothing in particular.
	Role Role
	// Selectable tells that it can hold mail, and not only other folders.
	Selectable bool
	// Children tells that there are folders below it, if the server says so.
	Children bool
	// Shared tells that it is another user's, or everybody's (RFC 2342).
	Shared bool
}

// FolderStatus is what a folder holds.
type FolderStatus struct {
	Messages    uint32
	Unseen      uint32
	UIDNext     uint32 // UID of the next mail; 0 if the server does not say
	UIDValidity uint32
}

// Folders is a session for work on folders, besides polling. One goroutine
// uses it. Each method returns when the server has confirmed what it did, or
// with an error; after a refusal, a [*ReplyError], the session goes on.
type Folders struct{ s *session }

// Folders connects and logs in with the options of New and of this call. The
// caller must Close it. The driver's Close does not end it, the end of ctx of
// a method does.
func (d *Driver) Folders(ctx context.Context, opts ...driver.Option) (*Folders, error) {
	o := d.set
	if err := driver.Apply(opts, &o.imap, &o.net, &o.common, &o.inbound); err != nil {
		return nil, err
	}
	s, err := connect(ctx, d.addr(&o), &o)
	if err != nil {
		return nil, err
	}
	return &Folders{s: s}, nil
}

// Close says good-bye and ends the session.
func (f *Folders) Close() error {
	f.s.logout()
	return nil
}

// List gives all folders, of others too if the server shares them. Folders
// whose names are damaged are left out and logged.
func (f *Folders) List(ctx context.Context) ([]Folder, error) { return f.find(ctx, "LIST", "*") }

// Subscribed gives the folders that the user subscribed to.
func (f *Folders) Subscribed(ctx context.Context) ([]Folder, error) { return f.find(ctx, "LSUB", "*") }

func (f *Folders) find(ctx context.Context, command, pattern string) ([]Folder, error) {
	defer f.s.watch(ctx)()
	n, err := f.s.namer()
	if err != nil {
		return nil, err
	}
	args := `"" ` + quote(pattern)
	if command == "LIST" && f.s.has("SPECIAL-USE") && (f.s.has("LIST-EXTENDED") || f.s.rev2()) {
		args += " RETURN (SPECIAL-USE CHILDREN)"
	}
	if command == "LSUB" && f.s.rev2() { // RFC 9051 has no LSUB
		command, args = "LIST", "(SUBSCRIBED) "+args
	}
	patterns := []string{args}
	for _, x := range n.foreign { // RFC 2342 section 5: "*" need not show them
		if command == "LIST" && x.prefix != "" && !strings.HasPrefix(args, "(") {
			patterns = append(patterns, `"" `+quote(f.s.wireName(x.prefix)+"*"))
		}
	}
	var list []Folder
	seen := map[string]bool{}
	for _, p := range patterns {
		err := f.s.listing(command, p, func(e listed) {
			if seen[e.name] {
				return
			}
			seen[e.name] = true
			list = append(list, n.folder(e))
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (n *namer) folder(e listed) Folder {
	x := Folder{Path: n.path(e.name, e.delim), Name: e.name, Role: e.role(), Selectable: true}
	for _, a := range e.attrs {
		switch a {
		case `\NOSELECT`, `\NONEXISTENT`:
			x.Selectable = false
		case `\HASCHILDREN`:
			x.Children = true
		}
	}
	for _, space := range n.foreign {
		x.Shared = x.Shared || space.prefix != "" && strings.HasPrefix(e.name+e.delim, space.prefix)
	}
	return x
}

// ByRole gives the path of the folder with that role, "" if the server names
// none.
func (f *Folders) ByRole(ctx context.Context, role Role) (string, error) {
	defer f.s.watch(ctx)()
	n, err := f.s.namer()
	if err != nil {
		return "", err
	}
	name, err := f.s.byRole(n, role)
	if err != nil || name == "" {
		return "", err
	}
	return n.path(name, n.delim), nil
}

// do runs a command on folders by their paths.
func (f *Folders) do(ctx context.Context, command string, paths ...string) error {
	defer f.s.watch(ctx)()
	var args []part
	for _, p := range paths {
		name, err := f.s.resolve(p)
		if err != nil {
			return err
		}
		args = append(args, f.s.folderArg(name))
	}
	_, err := f.s.command(command, nil, args...)
	return err
}

// Create makes a folder. One that exists already is an error with code
// ALREADYEXISTS on servers that say so.
func (f *Folders) Create(ctx context.Context, path string) error { return f.do(ctx, "CREATE", path) }

// Delete removes a folder with all its mail.
func (f *Folders) Delete(ctx context.Context, path string) error { return f.do(ctx, "DELETE", path) }

// Rename gives a folder another path.
func (f *Folders) Rename(ctx context.Context, from, to string) error {
	return f.do(ctx, "RENAME", from, to)
}

// Subscribe adds a folder to those that mail programs show.
func (f *Folders) Subscribe(ctx context.Context, path string) error {
	return f.do(ctx, "SUBSCRIBE", path)
}

// Unsubscribe undoes Subscribe.
func (f *Folders) Unsubscribe(ctx context.Context, path string) error {
	return f.do(ctx, "UNSUBSCRIBE", path)
}

// Status tells what a folder holds.
func (f *Folders) Status(ctx context.Context, path string) (FolderStatus, error) {
	defer f.s.watch(ctx)()
	name, err := f.s.resolve(path)
	if err != nil {
		return FolderStatus{}, err
	}
	var st FolderStatus
	found := false
	_, err = f.s.command("STATUS", func(r *response) error {
		if r.typ != "STATUS" {
			return nil
		}
		_, rest, ok := cutString(r.rest)
		items := strings.Fields(strings.Trim(string(rest), " ()"))
		if !ok || len(items)%2 != 0 {
			return f.s.wrap("status", driver.KindProtocol, errors.New("a STATUS response cannot be read"))
		}
		found = true
		for i := 0; i < len(items); i += 2 {
			n, _, _ := parseNumber([]byte(items[i+1]))
			switch strings.ToUpper(items[i]) {
			case "MESSAGES":
				st.Messages = n
			case "UNSEEN":
				st.Unseen = n
			case "UIDNEXT":
				st.UIDNext = n
			case "UIDVALIDITY":
				st.UIDValidity = n
			}
		}
		return nil
	}, f.s.folderArg(name), raw("(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"))
	if err == nil && !found {
		err = f.s.fail(f.s.wrap("status", driver.KindProtocol, errors.New("no answer to STATUS")))
	}
	return st, err
}

// An AppendOption changes one Append.
type AppendOption func(*appendSettings)

type appendSettings struct {
	flags []string
	date  time.Time
}

// AppendFlags sets flags on the new mail, e.g. `\Seen` or `\Draft`.
func AppendFlags(flags ...string) AppendOption {
	return func(s *appendSettings) { s.flags = append(s.flags, flags...) }
}

// AppendDate sets when the mail arrived; the default is now, by the server's
// clock.
func AppendDate(t time.Time) AppendOption { return func(s *appendSettings) { s.date = t } }

package ews

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A syncState is what is known of a folder: the server's word for how far the
// changes were told, and the items at that point. Both are stored together, so
// that they always fit; an older pair is as good, only more changes follow.
//
// The file is lines of JSON. The first names the mailbox, the last has a
// checksum of all before it. A file that is not whole, or of another mailbox,
// counts as missing.
type syncState struct {
	path  string
	owner syncHeader

	state string
	items map[driver.ID]item
	dirty bool
}

type syncHeader struct {
	Version int    `json:"maildriverEWSSync"`
	Server  string `json:"server"`
	Account string `json:"account"`
	Folder  string `json:"folder"`
	State   string `json:"state,omitempty"`
	Items   int    `json:"items"`
}

type syncLine struct {
	ID       string    `json:"id"`
	Key      string    `json:"key,omitempty"`
	Size     int64     `json:"size"`
	Read     bool      `json:"read,omitempty"`
	Received time.Time `json:"received"`
}

const syncVersion = 1

// maxSyncLine bounds a line, of which the longest has the state.
const maxSyncLine = 16 << 20

// maxSyncItems bounds the items of a file before it is believed.
const maxSyncItems = 16 << 20

// loadSyncState reads the state of a mailbox from its file in dir.
func loadSyncState(dir string, src driver.Source) (*syncState, error) {
	sum := sha256.Sum256([]byte(strings.Join([]string{src.Protocol, src.Server, src.Account, src.Folder}, "\x00")))
	st := &syncState{
		path:  filepath.Join(dir, "EWS_"+hex.EncodeToString(sum[:16])+".sync"),
		owner: syncHeader{Version: syncVersion, Server: src.Server, Account: src.Account, Folder: src.Folder},
	}
	st.reset()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, localError(err)
	}
	// What a killed process left behind; the mailbox is locked, so nobody else
	// is at it.
	if old, err := filepath.Glob(st.path + ".*.part"); err == nil {
		for _, name := range old {
			_ = os.Remove(name)
		}
	}
	file, err := os.Open(st.path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return nil, localError(err)
	}
	defer func() { _ = file.Close() }()
	if !st.read(file) {
		st.reset()
	}
	return st, nil
}

func localError(err error) error { return wrap("syncstate", "", driver.KindLocal, err) }

// reset forgets all.
func (st *syncState) reset() {
	st.state, st.items, st.dirty = "", map[driver.ID]item{}, false
}

// read reads a file. It reports false for one that cannot be believed.
func (st *syncState) read(r io.Reader) bool {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxSyncLine)
	sum := crc32.NewIEEE()
	var head syncHeader
	if !sc.Scan() || json.Unmarshal(sc.Bytes(), &head) != nil {
		return false
	}
	want := st.owner
	want.State, want.Items = head.State, head.Items
	if head != want || head.State == "" || head.Items < 0 || head.Items > maxSyncItems {
		return false
	}
	for n := 0; ; n++ {
		_, _ = sum.Write(sc.Bytes())
		_, _ = sum.Write([]byte{'\n'})
		if !sc.Scan() {
			return false
		}
		if n == head.Items {
			st.state = head.State
			return sc.Text() == checksum(sum.Sum32()) && len(st.items) == n
		}
		var l syncLine
		if json.Unmarshal(sc.Bytes(), &l) != nil || l.ID == "" {
			return false
		}
		id := driver.ID(l.ID)
		st.items[id] = item{id: id, key: l.Key, size: l.Size, read: l.Read, received: l.Received}
	}
}

func checksum(sum uint32) string { return fmt.Sprintf("sum %08x", sum) }

// drop forgets mails that were removed.
func (st *syncState) drop(ids []driver.ID) {
	for _, id := range ids {
		if _, ok := st.items[id]; ok {
			delete(st.items, id)
			st.dirty = true
		}
	}
}

// save replaces the file, durably.
func (st *syncState) save() error {
	if !st.dirty {
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(st.path), filepath.Base(st.path)+".*.part")
	if err != nil {
		return localError(err)
	}
	err = st.write(file)
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), st.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return localError(err)
	}
	st.dirty = false
	return localErrorOf(syncDirectory(filepath.Dir(st.path)))
}

func localErrorOf(err error) error {
	if err == nil {
		return nil
	}
	return localError(err)
}

func (st *syncState) write(w io.Writer) error {
	sum := crc32.NewIEEE()
	b := bufio.NewWriter(io.MultiWriter(w, sum))
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	head := st.owner
	head.State, head.Items = st.state, len(st.items)
	if err := enc.Encode(head); err != nil {
		return err
	}
	for _, it := range st.items {
		if err := enc.Encode(syncLine{string(it.id), it.key, it.size, it.read, it.received}); err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, checksum(sum.Sum32())+"\n")
	return err
}

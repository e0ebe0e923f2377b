package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of an import.
const (
	maxImportLine  = 4 << 10 // bytes; no program writes longer ids
	importBatch    = 1000    // records with one sync
	importCompact  = 50_000  // records held in full before they are merged into the small set
	importedReason = "imported"
)

// ImportResult counts what an import did.
type ImportResult struct {
	// Imported ids are known as done from now on.
	Imported int
	// Known ids had a record before, which was left as it is.
	Known int
	// Other lines belong to other mailboxes (fetchmail keeps all in one file).
	Other int
	// Malformed lines were skipped.
	Malformed int
}

// ErrSession: an import needs a mailbox whose session has not begun.
var ErrSession = errors.New("a session has begun")

// ImportFetchmail takes the ids that fetchmail keeps of mails it left on a POP3 server (~/.fetchids, lines "user@host
// uidl") for done, so that a host that changes over gets none of them again. user and host are those of fetchmail's
// configuration, "" for the account and server of the mailbox; letter case is ignored, as fetchmail does. Call it before
// the first poll, between Lock and Unlock. What was imported is durable when it returns, also when it returns an error:
// a *SizeError for a file beyond WithIDsLimit, an error of r, or one of the disk.
func (m *Mailbox) ImportFetchmail(r io.Reader, user, host string) (ImportResult, error) {
	if user == "" {
		user = m.id.Account
	}
	if host == "" {
		host = m.id.Server
	}
	prefix := user + "@" + host
	return m.importIDs(r, "fetchmail", func(line []byte) (key string, other, ok bool) {
		// Users may contain "@" and blanks, so the line is held against what is wanted instead of being taken apart.
		s := strings.TrimSpace(string(line))
		if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) && isBlank(s[len(prefix)]) {
			key = strings.TrimSpace(s[len(prefix):])
			return key, false, key != "" && !strings.ContainsAny(key, " \t")
		}
		at := strings.IndexByte(s, '@')
		return "", true, at > 0 && strings.ContainsAny(s[at:], " \t")
	})
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// ImportGetmail takes the ids that getmail (4 to 6) keeps of mails it has seen (~/.getmail/oldmail-SERVER-PORT-USER, for
// IMAP with "-FOLDER" behind it; lines of id, NUL and time) for done. Each file belongs to one mailbox. An id of an IMAP
// mailbox, "uidvalidity/uid" or of older releases "uidvalidity/folder/uid", becomes our "uidvalidity.uid". See
// ImportFetchmail for when to call it and what it promises.
func (m *Mailbox) ImportGetmail(r io.Reader) (ImportResult, error) {
	return m.importIDs(r, "getmail", func(line []byte) (key string, other, ok bool) {
		id, stamp, found := bytes.Cut(bytes.TrimSpace(line), []byte{0})
		if !found || len(id) == 0 || !digits(string(stamp)) {
			return "", false, false
		}
		key = string(id)
		if m.id.Protocol == "IMAP" {
			validity, rest, slash := strings.Cut(key, "/")
			uid := rest[strings.LastIndexByte(rest, '/')+1:]
			if !slash || !digits(validity) || !digits(uid) {
				return "", false, false
			}
			key = validity + "." + uid
		}
		return key, false, true
	})
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func (m *Mailbox) importIDs(r io.Reader, from string, parse func([]byte) (key string, other, ok bool)) (res ImportResult, err error) {
	if err := m.importable(); err != nil {
		return res, fmt.Errorf("spool: import from %s: %w", from, err)
	}
	limited := &io.LimitedReader{R: r, N: m.s.idsLimit + 1}
	br := bufio.NewReaderSize(limited, maxImportLine)
	var batch []Change
	seen := map[string]bool{}
	whole := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := m.Append(batch...); err != nil {
			return err
		}
		res.Imported += len(batch)
		whole += len(batch)
		batch = batch[:0]
		clear(seen)
		if whole < importCompact {
			return nil
		}
		whole = 0
		return m.Prune(nil) // so that a million ids take 16 MB, not 300
	}
	for {
		line, rerr := br.ReadSlice('\n')
		if errors.Is(rerr, bufio.ErrBufferFull) {
			res.Malformed++
			for errors.Is(rerr, bufio.ErrBufferFull) {
				_, rerr = br.ReadSlice('\n')
			}
			line = nil
		}
		if len(bytes.TrimSpace(line)) > 0 {
			key, other, ok := parse(line)
			switch {
			case !ok:
				res.Malformed++
			case other:
				res.Other++
			case seen[StoredKey(key)] || m.has(key):
				res.Known++
			default:
				seen[StoredKey(key)] = true
				batch = append(batch, DoneRecord(Record{Key: key}, OutcomeDelivered, DisposeKeep, importedReason))
			}
		}
		if len(batch) == importBatch || rerr != nil {
			if err := flush(); err != nil {
				return res, err
			}
		}
		switch {
		case limited.N == 0:
			return res, &SizeError{Path: "import from " + from, Size: m.s.idsLimit + 1, Limit: m.s.idsLimit}
		case rerr == io.EOF:
			return res, nil
		case rerr != nil:
			return res, fmt.Errorf("spool: import from %s: %w", from, rerr)
		}
	}
}

func (m *Mailbox) importable() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.svc != nil {
		return ErrSession
	}
	return m.usable()
}

func (m *Mailbox) has(key string) bool {
	_, ok := m.Lookup(key)
	return ok
}

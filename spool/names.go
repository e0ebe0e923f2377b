package spool

import (
	"fmt"
	"strconv"
	"strings"
)

// partSuffix ends the name of a file whose bytes are not yet complete and synced.
const partSuffix = ".part"

// reasonSuffix ends the name of the text file that says why the raw mail beside it is in failed.
const reasonSuffix = ".reason"

// Name is a documented file name taken apart. Zero numbers are legal everywhere.
type Name struct {
	Prefix     string // "SMTP", "POP3", "IMAP", "ATT", "OriginalMessageText", ... as written
	PID        uint64 // A: process id
	Driver     uint64 // B: driver handle
	Service    uint64 // C: service handle
	Created    uint64 // D: creation time of the service, Unix seconds
	Message    uint64 // E: message number in the session
	Attachment uint64 // F of ATT and OriginalMessageText: attachments found so far
	Millis     uint64 // last field: milliseconds since program start
	Ext        string // ".tmp", ".dat" or ".txt"
	Part       bool   // still under its temporary name
	short      bool   // OriginalMessageText with 6 fields
}

// Prefixes of the two kinds of files a mail is parsed into.
const (
	attachmentPrefix   = "ATT"
	originalTextPrefix = "OriginalMessageText"
	sentPrefix         = "SMTP"
)

// String gives the name in its written form: lower-case hexadecimal without padding.
func (n Name) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s_%s_%x", n.Prefix, n.ServicePrefix(), n.Message)
	if n.hasAttachment() && !n.short {
		fmt.Fprintf(&b, "_%x", n.Attachment)
	}
	fmt.Fprintf(&b, "_%x%s", n.Millis, n.Ext)
	if n.Part {
		b.WriteString(partSuffix)
	}
	return b.String()
}

// ServicePrefix gives A_B_C_D, the part that all files of one service share.
func (n Name) ServicePrefix() string {
	return fmt.Sprintf("%x_%x_%x_%x", n.PID, n.Driver, n.Service, n.Created)
}

func (n Name) hasAttachment() bool { return n.Ext == ".dat" || n.Ext == ".txt" }

// ParseName takes a documented file name apart. It accepts any letter case, leading zeros, a trailing ".part", and for
// OriginalMessageText the six-field form of older documents as well (Attachment is then 0). False means: not one of ours.
func ParseName(name string) (Name, bool) {
	var n Name
	if len(name) > 255 {
		return n, false
	}
	if rest, ok := cutSuffixFold(name, partSuffix); ok {
		name, n.Part = rest, true
	}
	if len(name) < 5 {
		return n, false
	}
	body, ext := name[:len(name)-4], strings.ToLower(name[len(name)-4:])
	prefix, rest, ok := strings.Cut(body, "_")
	if !ok || !validProto(prefix) {
		return n, false
	}
	want := 6
	switch {
	case ext == ".tmp" && !strings.EqualFold(prefix, attachmentPrefix) && !strings.EqualFold(prefix, originalTextPrefix):
	case ext == ".dat" && strings.EqualFold(prefix, attachmentPrefix):
		want = 7
	case ext == ".txt" && strings.EqualFold(prefix, originalTextPrefix):
		want = 7
	default:
		return n, false
	}
	n.Prefix, n.Ext = prefix, ext
	var v [7]uint64
	fields := strings.Split(rest, "_")
	if len(fields) == 6 && want == 7 && ext == ".txt" {
		n.short = true
		fields = []string{fields[0], fields[1], fields[2], fields[3], fields[4], "0", fields[5]}
	}
	if len(fields) != want {
		return n, false
	}
	for i, f := range fields {
		x, err := strconv.ParseUint(f, 16, 64)
		if err != nil || f[0] == '+' {
			return Name{}, false
		}
		v[i] = x
	}
	n.PID, n.Driver, n.Service, n.Created, n.Message = v[0], v[1], v[2], v[3], v[4]
	if want == 7 {
		n.Attachment, n.Millis = v[5], v[6]
	} else {
		n.Millis = v[5]
	}
	return n, true
}

// ServiceOf gives the A_B_C_D of any of our file names, normalised to lower case without padding, or "".
func ServiceOf(name string) string {
	n, ok := ParseName(name)
	if !ok {
		return ""
	}
	return n.ServicePrefix()
}

// maxProto bounds the length of a protocol's prefix.
const maxProto = 32

// validProto reports whether s can start a file name: ASCII letters and digits only, so it never holds a separator.
func validProto(s string) bool {
	if s == "" || len(s) > maxProto {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return true
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

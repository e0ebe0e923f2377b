package mime

import (
	"bytes"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"
)

// isUUBegin tests for "begin 644 name".
func isUUBegin(line []byte) bool {
	mode, name, ok := strings.Cut(strings.TrimPrefix(string(line), "begin "), " ")
	if !ok || len(mode) < 3 || len(mode) > 4 || strings.TrimSpace(name) == "" || !bytes.HasPrefix(line, fileBegin) {
		return false
	}
	return strings.Trim(mode, "01234567") == ""
}

// isUULine tests for a line of uuencoded data with at least one byte: its first
// character is the number of bytes, and it is as long as these need, give or
// take padding and a checksum character.
func isUULine(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 2 || line[0] <= ' ' || line[0] >= '`' {
		return false
	}
	n := int(line[0] - ' ')
	if got := len(line) - 1; got > (n+2)/3*4+2 || got < (n*8+5)/6 && n != 45 {
		return false // a full line of 45 may have lost the blanks at its end
	}
	for _, c := range line {
		if c < ' ' || c > '`' {
			return false
		}
	}
	return true
}

// fileNameOf reads the name off a begin line.
func fileNameOf(begin []byte) string {
	s := strings.TrimRight(string(begin), "\r\n")
	if strings.HasPrefix(s, "=y") {
		_, s, _ = strings.Cut(s, " name=")
	} else if parts := strings.SplitN(s, " ", 3); len(parts) == 3 {
		s = parts[2]
	}
	return strings.TrimSpace(decodeParamText(s, ""))
}

// A uuFile reads the data lines of a uuencoded file in text.
type uuFile struct {
	dec  uuDecoder
	over bool // the line without bytes was there
	torn bool
	done bool
}

func (f *uuFile) pieces() bool { return false }

func (f *uuFile) line(dst, line []byte) (out []byte, used, done bool) {
	text := bytes.TrimRight(line, "\r\n")
	switch trimmed := bytes.TrimSpace(text); {
	case string(trimmed) == "end":
		f.done = true
		return dst, true, true
	case len(trimmed) == 0 || string(trimmed) == "`":
		f.over = true
		return dst, true, false
	case f.over || !isUULine(text):
		f.torn = true
		return dst, false, true
	}
	f.dec.state = 1
	return f.dec.line(dst, text), true, false
}

func (f *uuFile) defect() (DefectCode, string) {
	switch {
	case f.torn:
		return DefectUUEncode, "a line that is no uuencoded data"
	case !f.done:
		return DefectUUEncode, "no end line"
	}
	return "", ""
}

// isYEncBegin tests for "=ybegin line=128 size=123 name=x".
func isYEncBegin(line []byte) bool {
	s := string(line)
	return strings.HasPrefix(s, "=ybegin ") && strings.Contains(s, " line=") && strings.Contains(s, " size=") && strings.Contains(s, " name=")
}

// A yEncFile reads the lines of a yEnc file (yEnc draft 1.3): each byte is
// shifted by 42, critical ones are escaped with "=".
type yEncFile struct {
	size   int64 // of the file, or of this part of it
	got    int64
	escape bool // the last piece ended in "="
	inLine bool // the next piece goes on with a line
	done   bool
	crc    hash.Hash32
	want   string // hexadecimal, "" if unknown
	part   bool
}

func newYEncFile(begin []byte) *yEncFile {
	head, _, _ := strings.Cut(string(begin), " name=")
	return &yEncFile{size: yEncNumber(head, "size"), crc: crc32.NewIEEE(), part: strings.Contains(head, " part=")}
}

func yEncValue(line, key string) string {
	_, v, _ := strings.Cut(line, " "+key+"=")
	if i := strings.IndexAny(v, " \r\n"); i >= 0 {
		v = v[:i]
	}
	return v
}

func yEncNumber(line, key string) int64 {
	n, err := strconv.ParseInt(yEncValue(line, key), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (f *yEncFile) pieces() bool { return true }

func (f *yEncFile) line(dst, line []byte) (out []byte, used, done bool) {
	if !f.inLine && bytes.HasPrefix(line, []byte("=y")) {
		s := string(line)
		switch {
		case strings.HasPrefix(s, "=ypart "):
			if b, e := yEncNumber(s, "begin"), yEncNumber(s, "end"); b > 0 && e >= b {
				f.size = e - b + 1
			}
			return dst, true, false
		case strings.HasPrefix(s, "=yend"):
			f.done = true
			if f.want = yEncValue(s, "pcrc32"); f.want == "" && !f.part {
				f.want = yEncValue(s, "crc32")
			}
			return dst, true, true
		}
	}
	whole := len(line) > 0 && line[len(line)-1] == '\n'
	n := len(dst)
	for _, c := range bytes.TrimRight(line, "\r\n") {
		switch {
		case f.escape:
			dst = append(dst, c-64-42)
			f.escape = false
		case c == '=':
			f.escape = true
		default:
			dst = append(dst, c-42)
		}
	}
	f.inLine = !whole
	f.got += int64(len(dst) - n)
	f.crc.Write(dst[n:])
	return dst, true, false
}

func (f *yEncFile) defect() (DefectCode, string) {
	sum, err := strconv.ParseUint(f.want, 16, 32)
	switch {
	case !f.done:
		return DefectYEnc, "no end line"
	case f.size >= 0 && f.got != f.size:
		return DefectYEnc, "the size is not what the begin line says"
	case f.want != "" && (err != nil || uint32(sum) != f.crc.Sum32()):
		return DefectYEnc, "wrong checksum"
	}
	return "", ""
}

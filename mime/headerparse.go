package mime

import "strings"

// indexHeader finds the fields in a header block. Lines that are no field and
// no continuation are passed over and told to bad, with their offset; fields
// beyond max are left out.
func indexHeader(raw string, max int64, bad func(code DefectCode, off int, line string)) []fieldPos {
	var fields []fieldPos
	if n := strings.Count(raw, "\n"); n > 0 {
		fields = make([]fieldPos, 0, min(n+1, 64))
	}
	open := false // the last line belongs to a field
	for off := 0; off < len(raw); {
		end := len(raw)
		if i := strings.IndexByte(raw[off:], '\n'); i >= 0 {
			end = off + i + 1
		}
		line := raw[off:end]
		switch {
		case line[0] == ' ' || line[0] == '\t':
			if open {
				fields[len(fields)-1].end = uint32(end)
			} else {
				bad(DefectHeaderFold, off, line)
			}
		default:
			name, colon := fieldName(line)
			if name == 0 {
				open = false
				code := DefectHeaderLine
				if isMboxFrom(line) {
					code = DefectMboxFrom
				}
				bad(code, off, line)
				break
			}
			if int64(len(fields)) >= max {
				return fields
			}
			fields = append(fields, fieldPos{uint32(off), uint32(off + name), uint32(off + colon + 1), uint32(end)})
			open = true
		}
		off = end
	}
	return fields
}

// fieldName gives the length of the field name that line starts with and the
// place of its colon; 0 if it is no field. Blanks before the colon are the
// obsolete form of RFC 5322 4.5.
func fieldName[T string | []byte](line T) (name, colon int) {
	i := 0
	for i < len(line) && line[i] > ' ' && line[i] < 0x7f && line[i] != ':' {
		i++
	}
	j := i
	for j < len(line) && (line[j] == ' ' || line[j] == '\t') {
		j++
	}
	if i == 0 || j == len(line) || line[j] != ':' {
		return 0, 0
	}
	return i, j
}

// isMboxFrom reports whether line is the separator of an mbox file, also in
// its quoted form.
func isMboxFrom[T string | []byte](line T) bool {
	if len(line) > 0 && line[0] == '>' {
		line = line[1:]
	}
	return len(line) > 5 && string(line[:5]) == "From "
}

// ParseHeader reads a header block that stands alone, e.g. the content of a
// text/rfc822-headers part or the fields of a report. It ends at the first
// empty line; lines that are no field are passed over. The number of fields is
// bounded by DefaultHeaderFields.
func ParseHeader(raw []byte) Header {
	s := string(raw[:min(len(raw), 1<<31-1)])
	for off := 0; off < len(s); {
		end := len(s)
		if i := strings.IndexByte(s[off:], '\n'); i >= 0 {
			end = off + i + 1
		}
		if strings.Trim(s[off:end], "\r\n") == "" {
			s = s[:off]
			break
		}
		off = end
	}
	h := Header{raw: s}
	h.fields = indexHeader(s, DefaultHeaderFields, func(DefectCode, int, string) {})
	return h
}

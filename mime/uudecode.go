package mime

import "bytes"

// maxUULine bounds a line of uuencoded data; a full one has 61 characters.
const maxUULine = 1024

// A uuDecoder undoes uuencode: the data between "begin" and "end". A body
// without a begin line is taken as data from its first line on.
type uuDecoder struct {
	hold   []byte // an unfinished line
	state  byte   // 0 before begin, 1 data, 2 after end
	broken bool
	long   bool // the rest of an over-long line is passed over
}

func (d *uuDecoder) decode(dst, src []byte) []byte {
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			if len(d.hold)+len(src) > maxUULine {
				d.long, d.broken, d.hold = true, true, nil
			} else if !d.long {
				d.hold = append(d.hold, src...)
			}
			return dst
		}
		line := src[:i]
		src = src[i+1:]
		if d.long {
			d.long = false
			continue
		}
		if len(d.hold) > 0 {
			line = append(d.hold, line...)
			d.hold = nil
		}
		if len(line) > maxUULine {
			d.broken = true
			continue
		}
		dst = d.line(dst, line)
	}
	return dst
}

func (d *uuDecoder) line(dst, line []byte) []byte {
	line = bytes.TrimRight(line, "\r\n")
	switch {
	case d.state == 2:
		return dst
	case bytes.HasPrefix(line, []byte("begin ")):
		d.state = 1
		return dst
	case string(bytes.TrimSpace(line)) == "end":
		d.state = 2
		return dst
	case len(line) == 0:
		return dst
	}
	d.state = 1
	n := int(line[0]-' ') & 63
	if line[0] < ' ' || line[0] > '`' {
		d.broken = true
		return dst
	}
	line = line[1:]
	for n > 0 {
		var q [4]byte
		for i := range q { // blanks at the end may have been cut off
			if i < len(line) {
				if line[i] < ' ' || line[i] > '`' {
					d.broken = true
				}
				q[i] = (line[i] - ' ') & 63
			}
		}
		line = line[min(4, len(line)):]
		out := [3]byte{q[0]<<2 | q[1]>>4, q[1]<<4 | q[2]>>2, q[2]<<6 | q[3]}
		dst = append(dst, out[:min(n, 3)]...)
		n -= 3
	}
	return dst
}

func (d *uuDecoder) finish(dst []byte) []byte {
	if len(d.hold) > 0 {
		dst = d.line(dst, d.hold)
		d.hold = nil
	}
	return dst
}

func (d *uuDecoder) defect() (DefectCode, string) {
	switch {
	case d.broken:
		return DefectUUEncode, "a line that is no uuencoded data"
	case d.state == 1:
		return DefectUUEncode, "no end line"
	}
	return "", ""
}

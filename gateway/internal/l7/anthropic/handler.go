package anthropic

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// requestHandler is a request that is told of values, which is not for others to
// do.
type requestHandler request

var _ jsonscan.Handler = (*requestHandler)(nil)

func (h *requestHandler) Value(path int, is jsonscan.Kind, text []byte) error {
	r := (*request)(h)
	switch at := r.schema.Is[path]; at {
	case document:
		if is != jsonscan.Object {
			return inspect.Unreadable("the content is no JSON object", nil)
		}
	case list:
		if is != jsonscan.Array {
			return inspect.Unreadable("requests is no array", nil)
		}
	case item:
		return r.beginItem(is)
	case params:
		if is != jsonscan.Object {
			return inspect.Unreadable("params is no object", nil)
		}
	default:
		return r.ofMessage(at, is, text)
	}
	return nil
}

// ofMessage takes a value of one message.
func (r *request) ofMessage(at place, is jsonscan.Kind, text []byte) (err error) {
	ask := &r.asks[r.first]
	switch at {
	case model:
		ask.Model, err = readModel(is, text)
	case stream:
		streamed, err := readStream(is)
		if err == nil && !r.batch() {
			ask.Streamed = streamed
		}
		return err
	case limit:
		ask.MaxTokens, err = readLimit(is, text)
	case backups:
		return r.beginBackups(is, text)
	case backup:
		if is != jsonscan.Object {
			return inspect.Unreadable("a fallback is no object", nil)
		}
		return r.beginOther(true)
	case tool:
		return r.beginOther(false)
	case otherOne:
		if is != jsonscan.Null {
			r.last.model, err = readModel(is, text)
		}
	case otherMax:
		r.last.max, err = readLimit(is, text)
	case toolName:
		if is == jsonscan.String && len(text) <= inspect.MaxText && len(ask.Offered) < inspect.MaxOffered {
			ask.Offered = append(ask.Offered, string(text))
		}
	}
	return err
}

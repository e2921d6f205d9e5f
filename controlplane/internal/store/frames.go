package store

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// framesSubject is where batches of frames are published.
	framesSubject = "sallyport.frames"
	// gatewayHeader names the gateway that delivered a batch.
	gatewayHeader = "Sallyport-Gateway"
	// batchBytes bounds one message's frames. It is under the default max_payload
	// (1 MiB) of an external server, with one largest frame to spare.
	batchBytes = 512 << 10
	// replayBytes bounds how far a replay reads ahead.
	replayBytes = 8 << 20
)

// framesStream is where frames are kept, in the order they came. Nothing in it is ever deleted or pushed
// out: when it is full, a write fails and gateways keep what they have.
func framesStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        "sallyport-frames",
		Description: "batches of frames as gateways delivered them",
		Subjects:    []string{framesSubject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		DenyDelete:  true,
		DenyPurge:   true,
	}
}

// AppendFrames appends frames that a gateway delivered, in order, and returns
// when they are durable. On an error some of the first may be durable: the
// gateway delivers all of them again, and joining does not mind.
func (s *Store) AppendFrames(ctx context.Context, gateway string, frames [][]byte) error {
	for len(frames) > 0 {
		n := fit(frames)
		data, err := proto.Marshal(&controlv1.Batch{Frames: frames[:n]})
		if err != nil {
			return fmt.Errorf("append frames: %w", err)
		}
		message := nats.NewMsg(framesSubject)
		message.Header.Set(gatewayHeader, gateway)
		message.Data = data
		if _, err := s.js.PublishMsg(ctx, message); err != nil {
			return unavailable("append frames", err)
		}
		frames = frames[n:]
	}
	return nil
}

// fit is how many of the frames make one message; at least one.
func fit(frames [][]byte) int {
	size := 0
	for i, frame := range frames {
		size += len(frame)
		if size > batchBytes && i > 0 {
			return i
		}
	}
	return len(frames)
}

// Replay calls each with every batch that was appended at that time or later, and before
// the call, and when that was, oldest first, until each fails or all were seen. A batch
// that cannot be read is logged and passed over: one bad message must not take all records
// with it.
func (s *Store) Replay(ctx context.Context, since time.Time, each func(gateway string, at time.Time, frames [][]byte) error) error {
	info, err := s.frames.Info(ctx)
	if err != nil {
		return unavailable("replay frames", err)
	}
	if info.State.Msgs == 0 || info.State.LastTime.Before(since) {
		return nil
	}
	from := jetstream.OrderedConsumerConfig{}
	if since.After(info.State.FirstTime) {
		from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, err := s.frames.OrderedConsumer(ctx, from)
	if err != nil {
		return unavailable("replay frames", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(replayBytes))
	if err != nil {
		return unavailable("replay frames", err)
	}
	defer messages.Stop()
	return s.replay(ctx, messages, info.State.LastSeq, each)
}

func (s *Store) replay(ctx context.Context, messages jetstream.MessagesContext, last uint64, each func(string, time.Time, [][]byte) error) error {
	for {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return unavailable("replay frames", err)
		}
		meta, err := message.Metadata()
		if err != nil {
			return fmt.Errorf("replay frames: %w", err)
		}
		var batch controlv1.Batch
		if err := proto.Unmarshal(message.Data(), &batch); err != nil {
			s.log.Error("stored batch cannot be read", zap.Uint64("sequence", meta.Sequence.Stream), zap.Error(err))
		} else if err := each(message.Headers().Get(gatewayHeader), meta.Timestamp, batch.GetFrames()); err != nil {
			return err
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}

import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.FragmentAssembler;
import io.aeron.Subscription;
import io.aeron.logbuffer.BufferClaim;
import io.aeron.logbuffer.FragmentHandler;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Locale;
import org.agrona.DirectBuffer;
import org.agrona.concurrent.UnsafeBuffer;

/**
 * Aeron IPC: an exclusive publication and a subscription for each direction, polled without a pause.
 *
 * A contender as bench.hpp describes them: its command line, payload, loops and result, in Java. What fits in a
 * fragment is claimed, filled and committed (tryClaim); larger messages are offered, which cuts them, and put
 * together by a FragmentAssembler. Before anything is counted as many messages are exchanged as the compiler of
 * the virtual machine wants to see (WARM_UP). Only --wait spin.
 */
public final class AeronPeer {
  private static final long ODD = 0xd1342543de82ef95L;
  private static final int FORTH = 1001, BACK = 1002, MOST_FRAGMENTS = 64;

  private final String role;
  private int size = 64;
  private long count = 1000;
  private String path;
  private long capacity = 1 << 20;
  private ExclusivePublication out;
  private Subscription in;
  private final BufferClaim claim = new BufferClaim();
  private UnsafeBuffer message;
  private long base;
  private long errors, received;
  private FragmentHandler handler;

  private AeronPeer(final String[] words) {
    role = words[0];
    for (int i = 1; i + 1 < words.length; i += 2) {
      final String value = words[i + 1];
      switch (words[i]) {
        case "--size": size = Integer.parseInt(value); break;
        case "--count": count = Long.parseLong(value); break;
        case "--path": path = value; break;
        case "--capacity": capacity = Long.parseLong(value); break;
        case "--wait": if (!value.equals("spin")) throw new IllegalArgumentException("this contender only spins"); break;
        case "--batch": if (!value.equals("1")) throw new IllegalArgumentException("this contender has no batches"); break;
        case "--align": case "--variant": case "--touch": break;
        default: throw new IllegalArgumentException("unknown option " + words[i]);
      }
    }
  }

  private boolean accepts() { return role.equals("pong") || role.equals("receive"); }

  private long warmUp() {
    return size <= 1024 ? 50_000 : size <= 65536 ? 2_000 : 200;
  }

  private void makeMessage() {
    message = new UnsafeBuffer(ByteBuffer.allocateDirect(size + 64).order(ByteOrder.LITTLE_ENDIAN), 0, size);
    for (int i = 0; i < size / 8; ++i) message.putLong(8 * i, 0x9e3779b97f4a7c15L * (i + 1));
    message.putLong(0, 0);
    message.putLong(size - 8, 0);
    base = sum(message, 0);
  }

  private long sum(final DirectBuffer buffer, final int offset) {
    long a = 0, b = 0, c = 0, d = 0;
    for (int i = offset; i < offset + size; i += 32) {
      a += buffer.getLong(i);
      b += buffer.getLong(i + 8);
      c += buffer.getLong(i + 16);
      d += buffer.getLong(i + 24);
    }
    return a + b + c + d;
  }

  private void check(final DirectBuffer buffer, final int offset, final int length) {
    final long number = received++;
    if (length != size || sum(buffer, offset) != base + number + number * ODD) ++errors;
  }

  private void send(final long number) {
    message.putLong(0, number);
    message.putLong(size - 8, number * ODD);
    if (size <= out.maxPayloadLength()) {
      long result;
      while ((result = out.tryClaim(size, claim)) < 0) retry(result);
      claim.buffer().putBytes(claim.offset(), message, 0, size);
      claim.commit();
    } else {
      long result;
      while ((result = out.offer(message, 0, size)) < 0) retry(result);
    }
  }

  private static void retry(final long result) {
    if (result == io.aeron.Publication.CLOSED || result == io.aeron.Publication.MAX_POSITION_EXCEEDED)
      throw new IllegalStateException("the publication is closed");
    Thread.onSpinWait();
  }

  private void receiveUntil(final long wanted) {
    while (received < wanted)
      if (in.poll(handler, MOST_FRAGMENTS) == 0) Thread.onSpinWait();
  }

  private static double cpuSeconds() {
    final com.sun.management.OperatingSystemMXBean system =
        (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
    return 1e-9 * system.getProcessCpuTime();
  }

  private void print(final String format, final Object... values) {
    System.out.println(String.format(Locale.ROOT, format, values));
    System.out.flush();
  }

  private void ping() {
    final long warmUp = Math.max(warmUp(), count / 10);
    final int[] samples = new int[(int) count];
    for (long number = 0; number < warmUp; ++number) {
      send(number);
      receiveUntil(number + 1);
    }
    final double cpu = cpuSeconds();
    final long begin = System.nanoTime();
    long before = begin;
    for (int i = 0; i < count; ++i) {
      send(warmUp + i);
      receiveUntil(warmUp + i + 1);
      final long now = System.nanoTime();
      samples[i] = (int) Math.min(now - before, Integer.MAX_VALUE);
      before = now;
    }
    final double seconds = 1e-9 * (before - begin), used = cpuSeconds() - cpu;
    Arrays.sort(samples);
    final StringBuilder points = new StringBuilder();
    final double[] percents = {1, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99};
    for (final double percent : percents) {
      final String name = percent == Math.rint(percent) ? Integer.toString((int) percent) : Double.toString(percent);
      points.append(String.format(Locale.ROOT, ", \"p%s\": %.1f", name, samples[(int) (percent / 100 * (samples.length - 1))] / 2.0));
    }
    print("{\"count\": %d, \"errors\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"min\": %.1f, \"max\": %.1f%s}", count, errors, seconds,
        used, samples[0] / 2.0, samples[samples.length - 1] / 2.0, points);
  }

  private void pong() {
    final long warmUp = Math.max(warmUp(), count / 10);
    double cpu = 0;
    for (long number = 0; number < count + warmUp; ++number) {
      if (number == warmUp) cpu = cpuSeconds();
      receiveUntil(number + 1);
      send(number);
    }
    print("{\"count\": %d, \"errors\": %d, \"cpu_seconds\": %.6f}", count, errors, cpuSeconds() - cpu);
    while (out.isConnected()) Thread.onSpinWait(); // until the last one was read
  }

  private void send() {
    double cpu = 0;
    for (long number = 0; number < count + warmUp(); ++number) {
      if (number == warmUp()) cpu = cpuSeconds();
      send(number);
    }
    print("{\"count\": %d, \"cpu_seconds\": %.6f}", count, cpuSeconds() - cpu);
    while (out.isConnected()) Thread.onSpinWait();
  }

  private void receive() {
    receiveUntil(warmUp());
    final long first = received;
    final double cpu = cpuSeconds();
    final long begin = System.nanoTime();
    receiveUntil(count + warmUp());
    final double seconds = 1e-9 * (System.nanoTime() - begin);
    print("{\"count\": %d, \"errors\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"rate\": %.1f}", count, errors, seconds,
        cpuSeconds() - cpu, (received - first) / seconds);
  }

  private void run() {
    makeMessage();
    // A term has to hold eight messages of the largest size that it may carry; the window is half of it.
    final long term = Math.max(64 << 10, Math.max(capacity, Long.highestOneBit(8L * size)));
    final String channel = "aeron:ipc?term-length=" + term;
    final FragmentHandler check = (buffer, offset, length, header) -> check(buffer, offset, length);
    final Aeron.Context context = new Aeron.Context().aeronDirectoryName(path + "/aeron");
    try (Aeron aeron = Aeron.connect(context)) {
      in = aeron.addSubscription(channel, accepts() ? FORTH : BACK);
      out = aeron.addExclusivePublication(channel, accepts() ? BACK : FORTH);
      handler = size <= out.maxPayloadLength() ? check : new FragmentAssembler(check, size + 64);
      if (accepts()) print("{\"ready\": true}");
      while (!in.isConnected() || !out.isConnected()) Thread.onSpinWait();
      switch (role) {
        case "ping": ping(); break;
        case "pong": pong(); break;
        case "send": send(); break;
        case "receive": receive(); break;
        default: throw new IllegalArgumentException("role " + role + " is not known");
      }
    }
  }

  public static void main(final String[] words) {
    new AeronPeer(words).run();
  }
}

import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import java.util.concurrent.CountDownLatch;

/**
 * Aeron's media driver in a process of its own: AeronDriver --path DIRECTORY. bench/run runs it for the time of a
 * measurement. IPC data do not go through it, so one thread with the default idle strategy, which backs off, is
 * enough; on a machine with two CPUs a driver that spins would take one from those that are measured.
 */
public final class AeronDriver {
  public static void main(String[] words) throws Exception {
    String path = null;
    for (int i = 0; i + 1 < words.length; i += 2)
      if (words[i].equals("--path")) path = words[i + 1];
    if (path == null) throw new IllegalArgumentException("--path is missing");
    final MediaDriver.Context context = new MediaDriver.Context()
        .aeronDirectoryName(path + "/aeron")
        .dirDeleteOnStart(true)
        .dirDeleteOnShutdown(true)
        .threadingMode(ThreadingMode.SHARED)
        .spiesSimulateConnection(false);
    final CountDownLatch ended = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(ended::countDown));
    try (MediaDriver driver = MediaDriver.launch(context)) {
      System.out.println("ready");
      ended.await();
    }
  }
}
